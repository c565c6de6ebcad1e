"""Two publishers on two hosts, whose journals are exported to one place."""

import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import fsspec

from crossfade.adapters.export import Exported, Location, export_journal
from crossfade.adapters.stores.exported import ExportedJournals
from crossfade.core.event import Stream
from crossfade.core.reconciliation import Reconciliation
from tests.reconciliation_data import World

OTHER = "other app/1"
"""The second publisher's source; a name that is no plain folder name."""


def other_stream(topic: str = "system", partition: int = 0) -> Stream:
    return Stream(OTHER, 1, topic, partition)


class TwoHosts:
    """``one`` and ``two`` have journals of their own, and share one recording and one table."""

    def __init__(self, folder: Path) -> None:
        (folder / "one").mkdir()
        (folder / "two").mkdir()
        self.one = World(folder / "one")
        self.two = World(folder / "two")
        self.two.journal.execute("UPDATE meta SET value = ? WHERE key = 'source'", (OTHER,))
        self.two.journal.commit()
        self.two.tap.close()
        self.two.tap, self.two.supabase = self.one.tap, self.one.supabase
        self.two.clock = self.one.clock
        self.url = f"memory://{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.one.__exit__()
        self.two.journal.close()
        files = fsspec.filesystem("memory")
        if files.exists(self.url):
            files.rm(self.url, recursive=True)

    def export(self, *worlds: World, segment_events: int = 10) -> list[Exported]:
        """Export these journals, both by default, as each host does for itself."""
        return [
            export_journal(
                world.folder / "journal.db",
                Location(self.url),
                segment_events=segment_events,
                block=8,
                clock=self.one.clock,
            )
            for world in worlds or (self.one, self.two)
        ]

    def reader(self, **options: Any) -> ExportedJournals:
        return ExportedJournals(self.url, **{"max_age_s": 900.0, **options})

    def reconcile(self, **given: Any) -> Reconciliation:
        readers = {**self.one.readers(), "journal": self.reader()}
        return self.one.reconcile(readers=readers, **given)
