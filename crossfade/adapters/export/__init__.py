"""A journal as files that other hosts can read (docs/protocol.md section 9).

Needs the extra ``export`` (pyarrow, fsspec); imported where it is used only.
"""

from crossfade.adapters.export.exporter import Exported, export_journal
from crossfade.adapters.export.location import Location
from crossfade.adapters.export.manifest import Manifest, Part, Segment, read_manifests

__all__ = [
    "Exported",
    "Location",
    "Manifest",
    "Part",
    "Segment",
    "export_journal",
    "read_manifests",
]
