"""Accepting gaps of the tap's coverage, so that they no longer hold a stage.

What was published while the tap was not connected is *uncovered*: neither proven nor lost, and a
reconciliation stays INCONCLUSIVE. A person who has looked (at the hub's log, say) may accept
exactly those events; they are listed with name and reason from then on, and never become a PASS
of anything else.
"""

from collections.abc import Callable, Mapping, Sequence

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.stores.seals import SealStore
from crossfade.core.event import Position
from crossfade.core.gaps import MAX_REASON_CHARS, Gap, ranges_of
from crossfade.core.reconciliation import MAX_DISCREPANCIES, Kind
from crossfade.core.reconciliation_plan import Range
from crossfade.errors import UsageError
from crossfade.ports import Clock, StoreReader
from crossfade.reconcile import reconcile
from crossfade.settings import Settings

__all__ = ["acknowledge"]


def acknowledge(
    settings: Settings,
    asked: Range,
    *,
    by: str,
    reason: str,
    tell: Callable[[Sequence[Gap]], None] | None = None,
    clock: Clock | None = None,
    readers: Mapping[str, StoreReader] | None = None,
) -> list[Gap]:
    """Accept the events of a range that are uncovered; those that are anything else stay findings.

    Compares the range first, journal and recording only. Some ``MAX_DISCREPANCIES`` events a call.

    Args:
        tell: puts the gaps into the control server's audit; called before they are accepted, and
            when it raises nothing is.

    Raises:
        UsageError: nobody or no reason was named, nothing in the range is uncovered, or the
            stores could not be compared.
    """
    if not by.strip() or not reason.strip():
        raise UsageError("accepting a gap needs --by and --reason: who decided it, and why")
    if max(len(by), len(reason)) > MAX_REASON_CHARS:
        raise UsageError(f"--by and --reason: at most {MAX_REASON_CHARS:,} characters each")
    result = reconcile(
        settings,
        ranges=[asked],
        stores=("journal", "websocket"),
        clock=clock,
        readers=readers,
        sleep=lambda seconds: None,
    )
    for store, text in result.errors.items():
        raise UsageError(f"{store} could not be read, so no gap is known: {text}")
    sequences = [
        Position.parse(one.position).sequence
        for one in result.discrepancies
        if one.kind is Kind.UNCOVERED
    ]
    if not sequences:
        raise UsageError("nothing in this range is uncovered; see `crossfade reconcile --range`")
    if len(sequences) >= MAX_DISCREPANCIES:
        raise UsageError(f"more than {MAX_DISCREPANCIES} events: accept it in smaller ranges")
    at_us = (clock or SystemClock()).now_us()
    gaps = [
        Gap(range=found, by=by.strip(), reason=reason.strip(), at_us=at_us)
        for found in ranges_of(asked.stream, sequences)
    ]
    if tell is not None:
        tell(gaps)
    state = SealStore(settings.reconcile.state, settings.reconcile.block)
    try:
        state.accept(gaps)
    finally:
        state.close()
    return gaps
