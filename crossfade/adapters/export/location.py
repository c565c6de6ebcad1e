"""A folder or a bucket, by its ``fsspec`` URL: whole files are put there and read back."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from crossfade.errors import JournalUnavailable, UsageError

__all__ = ["Location"]

_LOCAL = ("file", "local")


class Location:
    """Where exports lie: a folder, ``memory://…``, ``s3://bucket/prefix`` and so on.

    A reader sees a file whole or not at all: an object store puts objects that way, and in a
    folder a file is written under another name and renamed. Keys to a store come from that
    store's own configuration, never from the URL.

    Raises:
        UsageError: the URL holds a password, or nothing that is installed understands it.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(url)
        if parts.password or parts.username:
            raise UsageError(
                "the export's URL holds a user or password: keep those in the store's own settings"
            )
        try:
            found, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{url}: {error}") from error
        self._files: Any = found
        self._root = str(root).rstrip("/")
        protocol = found.protocol if isinstance(found.protocol, tuple) else (found.protocol,)
        self._is_local = any(name in _LOCAL for name in protocol)

    def put(self, name: str, content: bytes) -> None:
        """Write a file, replacing what has its name."""
        place = self._place(name)
        with self._translated(name):
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            if not self._is_local:
                self._files.pipe_file(place, content)
                return
            part = Path(f"{place}.part")
            part.write_bytes(content)
            part.replace(place)

    def get(self, name: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: there is none of that name.
            JournalUnavailable: it can not be read.
        """
        with self._translated(name):
            # Listings are kept by some file systems; what is read has to be of now.
            self._files.invalidate_cache()
            content: bytes = self._files.cat_file(self._place(name))
            return content

    def get_checked(self, name: str, size: int, sha256: str) -> bytes:
        """A file's content, which must be of that size (bytes) and hash.

        Raises:
            JournalUnavailable: it is not there, or not what was exported.
        """
        try:
            content = self.get(name)
        except FileNotFoundError as error:
            raise JournalUnavailable(
                f"{self.url}/{name}: the manifest names it, and it is not there: copy the "
                "export as a whole, or export again"
            ) from error
        if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
            raise JournalUnavailable(
                f"{self.url}/{name}: {len(content):,} bytes that are not what was exported "
                f"({size:,} bytes): copy the export as a whole, or export again"
            )
        return content

    def find(self, pattern: str) -> list[str]:
        """The names of the files that match, relative to the location, sorted."""
        with self._translated(pattern):
            self._files.invalidate_cache()
            found = self._files.glob(f"{self._root}/{pattern}")
        return sorted(str(one).removeprefix(self._root).lstrip("/") for one in found)

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is no error."""
        try:
            with self._translated(name):
                self._files.rm_file(self._place(name))
        except FileNotFoundError:
            return

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # every file system of fsspec has errors of its own
            raise JournalUnavailable(
                f"{self.url}/{name}: {type(error).__name__}: {error}"
            ) from error
