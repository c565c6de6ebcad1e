"""Crossfade's flags for an application that asks OpenFeature: who is in the cohort?

::

    api.set_provider(CrossfadeProvider(flags))
    ann = EvaluationContext("ann", {"topic": "orders"})
    client.get_boolean_value("crossfade-served", False, ann)

Needs the extra ``crossfade[openfeature]``.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    FlagNotFoundError,
    InvalidContextError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from crossfade.core.flags import Flags
from crossfade.core.routing import partition_of
from crossfade.errors import Closed
from crossfade.ports import FlagSource

__all__ = ["CrossfadeProvider"]

T = TypeVar("T")
_Resolver = Callable[[Flags, EvaluationContext], Any]


def _topic(context: EvaluationContext) -> str:
    topic = context.attributes.get("topic")
    if not isinstance(topic, str) or not topic:
        raise InvalidContextError("the attribute topic must name the event's topic")
    return topic


def _partition(flags: Flags, context: EvaluationContext) -> tuple[str, int]:
    """By the attribute ``partition``, or by the targeting key, which is the event's key."""
    topic, number = _topic(context), context.attributes.get("partition")
    if isinstance(number, int) and not isinstance(number, bool):
        return topic, number
    if context.targeting_key is None:
        raise TargetingKeyMissingError("the targeting key must be the event's key")
    return topic, partition_of(topic, context.targeting_key, flags.partitions)


_FLAGS: dict[str, tuple[type, _Resolver]] = {
    "crossfade-served": (bool, lambda f, c: f.serves(*_partition(f, c))),
    "crossfade-written": (bool, lambda f, c: f.writes(*_partition(f, c))),
    "crossfade-kill": (bool, lambda f, _: f.kill),
    "crossfade-transport": (
        str,
        lambda f, c: "realtime" if f.serves(*_partition(f, c)) else "websocket",
    ),
    "crossfade-served-percent": (float, lambda f, c: f.served_percent(_topic(c))),
    "crossfade-written-percent": (float, lambda f, c: f.written_percent(_topic(c))),
    "crossfade-version": (int, lambda f, _: f.version),
    "crossfade-flags": (dict, lambda f, _: f.to_json()),
}
"""What there is, its type, and how it is resolved."""


class CrossfadeProvider(AbstractProvider):
    """An OpenFeature provider over any ``ports.FlagSource``; answers from memory.

    Every answer's metadata has the flags' ``version``. Entered as an async context manager it
    also emits that the configuration changed, whenever it did.
    """

    def __init__(self, source: FlagSource) -> None:
        super().__init__()
        self._source = source
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="openfeature-provider")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="crossfade")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """``crossfade-served``, ``crossfade-written``, ``crossfade-kill``."""
        return self._resolve(flag_key, bool, evaluation_context)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """``crossfade-transport``: ``realtime`` or ``websocket``."""
        return self._resolve(flag_key, str, evaluation_context)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """``crossfade-version``."""
        return self._resolve(flag_key, int, evaluation_context)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """``crossfade-served-percent``, ``crossfade-written-percent``."""
        return self._resolve(flag_key, float, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """``crossfade-flags``: the whole document."""
        return self._resolve(flag_key, dict, evaluation_context)

    def _resolve(
        self, key: str, kind: type, context: EvaluationContext | None
    ) -> FlagResolutionDetails[Any]:
        if key not in _FLAGS:
            raise FlagNotFoundError(f"there are {', '.join(_FLAGS)}")
        known, resolver = _FLAGS[key]
        if known is not kind:
            raise TypeMismatchError(f"{key} is of type {known.__name__}")
        flags = self._source.flags
        value = resolver(flags, context or EvaluationContext())
        split = key in ("crossfade-served", "crossfade-written", "crossfade-transport")
        return FlagResolutionDetails(
            value=value,
            reason=Reason.SPLIT if split else Reason.STATIC,
            variant=str(value).lower() if kind in (bool, str) else None,
            flag_metadata={"version": flags.version},
        )

    async def _follow(self) -> None:
        version = self._source.flags.version
        with contextlib.suppress(Closed):
            while True:
                version = (await self._source.newer(version)).version
                self.emit_provider_configuration_changed(
                    ProviderEventDetails(flags_changed=list(_FLAGS), metadata={"version": version})
                )
