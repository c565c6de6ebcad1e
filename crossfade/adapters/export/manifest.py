"""What an export consists of: the manifest of one journal, written last and replaced whole."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from crossfade.adapters.export.location import Location
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import JournalStream
from crossfade.errors import JournalTooNew, JournalUnavailable

__all__ = [
    "MANIFEST",
    "VERSION",
    "File",
    "Manifest",
    "Part",
    "Segment",
    "folder_of",
    "read_manifest",
    "read_manifests",
]

MANIFEST = "manifest.json"
VERSION = 1


class Part(NamedTuple):
    """Consecutive sequences of one stream in a segment.

    ``stream`` is the stream's place in the manifest. ``rows`` rows from ``offset`` on are its;
    fewer than its sequences when the journal lacks some. ``oldest_us`` and ``newest_us`` are
    commit times (0 without a row).
    """

    stream: int
    first: int
    last: int
    offset: int
    rows: int
    oldest_us: int
    newest_us: int


class File(NamedTuple):
    """A file's name (in its journal's folder), size in bytes, and SHA-256."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes) -> "File":
        """Of what is about to be written."""
        return cls(name, len(content), hashlib.sha256(content).hexdigest())


class Segment(NamedTuple):
    """Rows and the digests of their blocks; one that is not closed is written anew, longer."""

    rows: File
    digests: File
    is_closed: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An export of one journal.

    ``export`` is drawn when exporting to a location begins, ``number`` counts from 1. Everything
    committed before ``at_us`` is in it. ``mark`` is where the journal's log of changes was read
    to; ``altered`` are the (number, place of the stream, first, last) that the log has told of
    since the export numbered ``altered_after``. ``block`` is the digests' size in sequences.
    """

    source: str
    epoch: int
    export: str
    number: int
    at_us: int
    block: int
    mark: str
    streams: tuple[JournalStream, ...]
    segments: tuple[Segment, ...]
    altered: tuple[tuple[int, int, int, int], ...] = ()
    altered_after: int = 0

    @property
    def folder(self) -> str:
        """Where it lies in its location."""
        return folder_of(self.source, self.epoch)

    def to_bytes(self) -> bytes:
        """As JSON."""
        return orjson.dumps(
            {
                "version": VERSION,
                "source": self.source,
                "epoch": self.epoch,
                "export": self.export,
                "number": self.number,
                "at_us": self.at_us,
                "block": self.block,
                "mark": self.mark,
                "streams": [_stream_to_json(one) for one in self.streams],
                "segments": [
                    {
                        "rows": list(one.rows),
                        "digests": list(one.digests),
                        "closed": one.is_closed,
                        "parts": [list(part) for part in one.parts],
                    }
                    for one in self.segments
                ],
                "altered": self.altered,
                "altered_after": self.altered_after,
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "Manifest":
        """Read what ``to_bytes`` wrote; ``name`` is for the errors.

        Raises:
            JournalTooNew: a later version wrote it.
            JournalUnavailable: it is no whole manifest.
        """
        try:
            value = orjson.loads(content)
            if value["version"] > VERSION:
                raise JournalTooNew(
                    f"{name}: exported by a later Crossfade (version {value['version']}, this one "
                    f"knows {VERSION}): upgrade Crossfade here"
                )
            return cls(
                source=str(value["source"]),
                epoch=int(value["epoch"]),
                export=str(value["export"]),
                number=int(value["number"]),
                at_us=int(value["at_us"]),
                block=int(value["block"]),
                mark=str(value["mark"]),
                streams=tuple(_stream_from_json(one) for one in value["streams"]),
                segments=tuple(
                    Segment(
                        File(*one["rows"]),
                        File(*one["digests"]),
                        bool(one["closed"]),
                        tuple(Part(*part) for part in one["parts"]),
                    )
                    for one in value["segments"]
                ),
                altered=tuple((a, b, c, d) for a, b, c, d in value["altered"]),
                altered_after=int(value["altered_after"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise JournalUnavailable(
                f"{name}: no whole manifest ({type(error).__name__}): copy the export as a "
                "whole, or export again"
            ) from error


def folder_of(source: str, epoch: int) -> str:
    """The folder of a journal: its source, quoted, and its epoch."""
    return f"{quote(source, safe='').replace('.', '%2E')}/{epoch}"


def read_manifest(location: Location, folder: str) -> Manifest | None:
    """The manifest of one journal; None when nothing was exported yet.

    Raises:
        JournalTooNew, JournalUnavailable: as ``Manifest.from_bytes``.
    """
    name = f"{folder}/{MANIFEST}"
    try:
        content = location.get(name)
    except FileNotFoundError:
        return None
    return Manifest.from_bytes(content, f"{location.url}/{name}")


def read_manifests(location: Location) -> list[Manifest]:
    """Those of every journal that was exported there.

    Raises:
        JournalUnavailable: there is none, or one that can not be read.
    """
    found = [
        manifest
        for name in location.find(f"*/*/{MANIFEST}")
        if (manifest := read_manifest(location, name.rpartition("/")[0])) is not None
    ]
    if not found:
        raise JournalUnavailable(
            f"{location.url}: no journal was exported there; run `crossfade journal export "
            f"{location.url}` on the publishers' hosts"
        )
    return found


def _stream_to_json(facts: JournalStream) -> dict[str, Any]:
    return {
        "topic": facts.stream.topic,
        "partition": facts.stream.partition,
        "source": facts.stream.source,
        "epoch": facts.stream.epoch,
        "category": facts.category,
        "floor": facts.floor,
        "head": facts.head,
        "held": facts.held,
        "owed": facts.owed,
        "next": facts.next,
        "parked": [[sequence, reason] for sequence, reason in facts.parked.items()],
    }


def _stream_from_json(value: Mapping[str, Any]) -> JournalStream:
    return JournalStream(
        stream=Stream(value["source"], value["epoch"], value["topic"], value["partition"]),
        category=value["category"],
        floor=value["floor"],
        head=value["head"],
        held=value["held"],
        watermark=value["head"],
        owed={
            store: tuple((first, last) for first, last in intervals)
            for store, intervals in value["owed"].items()
        },
        next=value["next"],
        parked=dict(value["parked"]),
    )
