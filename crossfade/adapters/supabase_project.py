"""What operators ask of a Supabase project: facts of its catalog, and the removal of old events."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.event import Stream, format_time
from crossfade.errors import StoreUnavailable
from crossfade.settings import SupabaseSettings

__all__ = ["Facts", "Retained", "SupabaseProject"]


class Facts(NamedTuple):
    """What ``crossfade_facts_v1`` answers (docs/protocol.md section 3).

    ``now_us`` is the database's clock; ``timeouts`` the statement time-outs by role, in
    PostgreSQL's notation, None where the role has none of its own.
    """

    migration: str
    now_us: int
    postgres: str
    database_bytes: int
    open_tables: tuple[str, ...]
    open_functions: tuple[str, ...]
    unfixed_functions: tuple[str, ...]
    realtime_send: bool
    partition_today: bool
    receive_policy: bool
    statement_timeout_ms: int
    timeouts: Mapping[str, str | None]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Facts":
        """Read the answer.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(
            str(value["migration"]),
            int(value["now_us"]),
            str(value["postgres"]),
            int(value["database_bytes"]),
            tuple(map(str, value["open_tables"])),
            tuple(map(str, value["open_functions"])),
            tuple(map(str, value["unfixed_functions"])),
            bool(value["realtime_send"]),
            bool(value["partition_today"]),
            bool(value["receive_policy"]),
            int(value["statement_timeout_ms"]),
            dict(value["timeouts"]),
        )


class Retained(NamedTuple):
    """What one call removed: ``floors`` are the streams' lowest sequences afterwards."""

    deleted: int
    more: bool
    floors: tuple[tuple[Stream, int], ...]


class SupabaseProject(SupabaseEventStore):
    """The same store, with the calls of operators; needs the service role's key."""

    @classmethod
    def of(cls, section: SupabaseSettings) -> "SupabaseProject":
        """The project that is configured.

        Raises:
            UsageError: its address or the service role's key is missing.
        """
        return cls(
            section.url, section.service_role_key.get_secret_value(), timeout_s=section.timeout_s
        )

    async def facts(self) -> Facts:
        """Raises ``StoreUnavailable`` or ``StoreRejected`` as ``ingest`` does."""
        answer = await self._call("crossfade_facts_v1", {})
        try:
            return Facts.from_json(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _not_understood("crossfade_facts_v1", error) from error

    async def digest_count(self, stream: Stream, last: int) -> int:
        """How many digests of one event each the project answers for sequences 1 to ``last``.

        Raises ``StoreUnavailable`` or ``StoreRejected`` as ``ingest`` does.
        """
        answer = await self._call(
            "crossfade_digests_v1", {"ranges": [[*stream, 1, last]], "block": 1}
        )
        return len(answer) if isinstance(answer, list) else 0

    async def forget_canary(self) -> int:
        """Remove everything of the source ``crossfade-doctor``; how many events that were.

        Raises ``StoreUnavailable`` or ``StoreRejected`` as ``ingest`` does.
        """
        return int(await self._call("crossfade_forget_canary_v1", {}))

    async def retain(
        self, floors: Sequence[tuple[Stream, int]], before_us: int, *, at_most: int = 10_000
    ) -> Retained:
        """Remove what is below the floors, old, and no longer in the publisher's journal.

        Args:
            floors: at most 10,000 streams, each with the lowest sequence to keep.
            before_us: what was inserted later stays, and all that follows it in its stream.
            at_most: events of one call, up to 50,000; repeat while ``more``.

        Raises:
            StoreUnavailable, StoreRejected: as ``ingest``.
        """
        answer = await self._call(
            "crossfade_retain_v1",
            {
                "floors": [[*stream, floor] for stream, floor in floors],
                "before": format_time(before_us),
                "at_most": at_most,
            },
        )
        try:
            return Retained(
                int(answer["deleted"]),
                bool(answer["more"]),
                tuple(
                    (Stream(str(row[0]), int(row[1]), str(row[2]), int(row[3])), int(row[4]))
                    for row in answer["floors"]
                ),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _not_understood("crossfade_retain_v1", error) from error


def _not_understood(function: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{function}: the answer is not understood ({type(error).__name__}: {error}); "
        "are the migrations of this version applied? (`crossfade supabase migrate`)"
    )
