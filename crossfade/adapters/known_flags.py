"""The last known flags: in force until newer ones come, waited for, and kept in a file."""

import asyncio
import os
from pathlib import Path

import orjson
import structlog

from crossfade.core.flags import Flags
from crossfade.errors import Closed

__all__ = ["KnownFlags"]

_log = structlog.get_logger("crossfade.flags")


class KnownFlags:
    """What every source of flags has in common; implements ``ports.FlagSource``.

    Belongs to one event loop. Whoever derives from it calls ``_take`` with newer flags.

    Args:
        initial: the flags before any are known.
        cache: a file that keeps the last known flags, so that a restart without their origin
            still has them; None keeps none. One that can not be read or written is reported
            and otherwise ignored.
    """

    def __init__(self, initial: Flags, cache: Path | None) -> None:
        self._flags = initial
        self._cache = cache
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def flags(self) -> Flags:
        """The flags in force here and now; never blocks."""
        return self._flags

    async def newer(self, version: int) -> Flags:
        """Wait until the flags' version is above ``version`` and return them.

        Raises:
            Closed: the source was closed meanwhile.
        """
        while self._flags.version <= version:
            if self._closed:
                raise Closed("the source of flags was closed")
            await self._changed.wait()
        return self._flags

    async def _take(self, flags: Flags) -> None:
        """Put ``flags`` in force, wake whoever waits for them, and keep them."""
        self._flags = flags
        self._wake()
        if self._cache is not None:
            try:
                await asyncio.to_thread(_write, self._cache, flags)
            except OSError as error:
                _log.warning("flags can not be kept", path=str(self._cache), error=error.strerror)

    async def _kept(self) -> Flags | None:
        """The flags in the cache's file; None where there are none to be read."""
        if self._cache is None:
            return None
        try:
            return await asyncio.to_thread(_read, self._cache)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("kept flags can not be read", path=str(self._cache), error=repr(error))
            return None

    def _close(self) -> None:
        """No newer flags will come: whoever waits for them is told."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _read(path: Path) -> Flags:
    return Flags.from_json(orjson.loads(path.read_bytes()))


def _write(path: Path, flags: Flags) -> None:
    # Of this process alone until it is whole: two may keep their flags in one file.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(orjson.dumps(flags.to_json()))
    draft.replace(path)
