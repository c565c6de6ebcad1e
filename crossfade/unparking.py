"""Gives parked events again, at the request of an operator (``crossfade unpark``)."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.requests import RequestFolder
from crossfade.core.event import Event
from crossfade.errors import JournalError
from crossfade.relay import Relay

__all__ = ["Unparking"]

_log = logging.getLogger("crossfade.publisher")

POLL_S = 1.0


class Unparking:
    """An async context manager that owns one task: it looks for requests and hands what they
    name to the relays.

    A request is ``{"sink": name or null, "positions": [text] or null}``; its answer
    ``{"given": [[sink, position]], "gone": […], "no_relay": […]}``: given again; not in the journal
    any more; parked for a sink that this publisher does not serve.
    """

    def __init__(self, journal: Path, relays: Mapping[str, Relay]) -> None:
        self._journal = journal
        self._relays = relays
        self._folder = RequestFolder(journal)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="unparking")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                for name, request in await asyncio.to_thread(self._folder.pending):
                    answer = await self._give(request)
                    await asyncio.to_thread(self._folder.answer, name, answer)
            except JournalError as error:
                _log.error("requests can not be looked at: %s", error)
            await asyncio.sleep(POLL_S)

    async def _give(self, request: Mapping[str, Any]) -> dict[str, Any]:
        sink, positions = request.get("sink"), request.get("positions")
        answer: dict[str, list[list[str]]] = {"given": [], "gone": [], "no_relay": []}
        for where, position, event in await asyncio.to_thread(self._parked, sink, positions):
            relay = self._relays.get(where)
            if relay is None:
                answer["no_relay"].append([where, position])
            elif event is None:
                answer["gone"].append([where, position])
            else:
                relay.again(event)
                answer["given"].append([where, position])
        if answer["given"]:
            _log.warning("%d parked events are given again on request", len(answer["given"]))
        return answer

    def _parked(self, sink: Any, positions: Any) -> list[tuple[str, str, Event | None]]:
        wanted = None if positions is None else set(map(str, positions))
        found: list[tuple[str, str, Event | None]] = []
        with JournalReader(self._journal) as reader:
            for one in reader.parked():
                text = str(one.position)
                if (sink is None or one.sink == sink) and (wanted is None or text in wanted):
                    sequence = one.position.sequence
                    events = reader.read(one.position.stream, sequence, sequence)
                    found.append((one.sink, text, events[0] if events else None))
        return found
