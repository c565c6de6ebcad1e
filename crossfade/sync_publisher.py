"""The publisher for code without an event loop: any number of threads, plain calls.

::

    with SyncPublisher() as publisher:
        event = publisher.publish("order.placed", {"total": 12}, key="ann")

A loop in a thread of its own runs one ``Publisher``; every call waits for it. So threads share
group commits, and ten threads that publish cost hardly more than one.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from crossfade.core.breaker import BreakerState
from crossfade.core.event import Event
from crossfade.errors import Closed, JournalUnavailable
from crossfade.publisher import Publisher
from crossfade.settings import Settings

__all__ = ["SyncPublisher"]

T = TypeVar("T")

SyncSend = Callable[[Sequence[Any]], Awaitable[None] | None]
"""An application's own send, plain or async."""


class SyncPublisher:
    """A context manager; its methods may be called from any thread but none with a running loop
    that must not wait.

    Args:
        settings: as for ``Publisher``.
        legacy: as for ``Publisher``; a plain function is called in a thread, one call at a time.
        timeout_s: longest wait of a call for the disk and for room in the queue.
        options: everything else of ``Publisher``: ``codec``, ``store``, ``flags`` …

    Raises:
        SettingsError, JournalTooNew, JournalLocked, JournalUnavailable: as ``Publisher``.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        legacy: SyncSend | str | None = None,
        timeout_s: float = 30.0,
        **options: Any,
    ) -> None:
        if legacy is not None and not isinstance(legacy, str):
            legacy = _awaited(legacy)
        self._publisher = Publisher(settings, legacy=legacy, **options)
        self._timeout_s = timeout_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="crossfade-publisher", daemon=True)
        self._owed: dict[str, int] = {}
        self._open = False

    def publish(
        self,
        type: str,  # noqa: A002 - CloudEvents' own word
        data: Any,
        *,
        key: str = "",
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 - CloudEvents' own word
    ) -> Event:
        """As ``Publisher.publish``; returns once the event is durable.

        Raises:
            InvalidEvent, JournalUnavailable, Closed: as there; JournalUnavailable also after
                ``timeout_s``: it is not known whether it is durable, repeat it with its ``id``.
        """
        return self._call(self._publisher.publish(type, data, key=key, time=time, id=id))

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> list[Event]:
        """As ``Publisher.publish_many``."""
        return self._call(self._publisher.publish_many(list(events)))

    @property
    def owed(self) -> dict[str, int]:
        """Per sink, how many committed events it was not given yet."""
        return self._call(_now(lambda: self._publisher.owed))

    @property
    def breakers(self) -> dict[str, BreakerState]:
        """Per sink, the state of its breaker."""
        return self._call(_now(lambda: self._publisher.breakers))

    def close(self) -> dict[str, int]:
        """As ``Publisher.close``: drains within its deadline, answers what is still owed."""
        if not self._open:
            return self._owed
        self._open = False
        try:
            # Its own deadline is publisher.drain_s; waiting for less would cut it off.
            self._owed = asyncio.run_coroutine_threadsafe(
                self._publisher.close(), self._loop
            ).result()
        finally:
            self._end()
        return self._owed

    def __enter__(self) -> Self:
        self._thread.start()
        entering = asyncio.run_coroutine_threadsafe(self._publisher.__aenter__(), self._loop)
        try:
            entering.result()
        except BaseException:
            self._end()
            raise
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._open:
            work.close()
            raise Closed("the publisher is not open")
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a plain call from the publisher's own loop would wait for itself")
        try:
            answer: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise Closed("the publisher is not open") from None
        try:
            return answer.result(self._timeout_s)
        except TimeoutError:
            answer.cancel()
            raise JournalUnavailable(
                f"no answer within {self._timeout_s:g} s; it is not known whether it is durable: "
                "repeat it with the same id"
            ) from None
        except CancelledError:
            raise Closed("the publisher was closed meanwhile") from None


async def _now(read: Callable[[], T]) -> T:
    return read()


def _awaited(send: SyncSend) -> Callable[[Sequence[Any]], Awaitable[None]]:
    async def call(items: Sequence[Any]) -> None:
        if inspect.iscoroutinefunction(send):
            await send(items)
        else:
            # The relay has one call under way, so the function is never entered twice.
            await asyncio.to_thread(send, items)

    return call
