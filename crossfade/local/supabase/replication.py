"""From rows of ``realtime.messages`` to live broadcasts, and from changes of published tables
to ``postgres_changes``.

The embedded PostgreSQL has no logical replication, so triggers notify of each row and this
listens. What the real server's temporary slot does holds here too: a row that is committed
while nobody listens is never sent live.
"""

import asyncio
import contextlib
import logging

import psycopg
from psycopg import AsyncConnection

from crossfade.local.supabase.change_feed import deliver_changes
from crossfade.local.supabase.channels import Topics
from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.wire import Broadcast

__all__ = ["Replication"]

_LOG = logging.getLogger(__name__)
_MESSAGES = "realtime_messages"
_CHANGES = "realtime_changes"
_RETRY_S = 0.5
_PARTITIONS_S = 3_600.0
_TICK_S = 0.05
_MAX_BATCH = 200
_ROWS = """
select id::text, topic, event, private, payload::text, binary_payload
from realtime.messages where id = any(%s) and inserted_at = any(%s::timestamp[])
"""


class Replication:
    """One listening connection and the task that serves it.

    ``connected`` says whether rows are heard of now.
    """

    def __init__(self, database_url: str, topics: Topics, faults: Faults) -> None:
        self._url = database_url
        self._topics = topics
        self._faults = faults
        self._task: asyncio.Task[None] | None = None
        self._told = False  # once per loss
        self.connected = asyncio.Event()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="replication")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            if self._faults.replication:
                try:
                    await self._listen()
                except psycopg.Error as error:
                    if not self._told:
                        _LOG.warning("replication lost: %s", str(error).splitlines()[:1])
                    self._told = True
                except Exception:  # noqa: BLE001 - the end of this task would be a silent outage
                    _LOG.exception("replication failed")
                finally:
                    self.connected.clear()
            await asyncio.sleep(_RETRY_S if self._faults.replication else _TICK_S)

    async def _listen(self) -> None:
        connection = await AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="crossfade replication"
        )
        async with connection:
            await connection.execute(f"listen {_MESSAGES}; listen {_CHANGES}")
            # Of before: never sent live.
            await connection.execute("delete from realtime.stand_in_changes")
            made = -_PARTITIONS_S
            clock = asyncio.get_running_loop().time
            self.connected.set()
            self._told = False
            while self._faults.replication:
                if clock() - made > _PARTITIONS_S:
                    await connection.execute("select realtime.make_partitions()")
                    made = clock()
                # Ends early once something came; `_TICK_S` bounds how late a fault is seen.
                notices: dict[str, list[str]] = {_MESSAGES: [], _CHANGES: []}
                async for notice in connection.notifies(timeout=_TICK_S, stop_after=1):
                    notices[notice.channel].append(notice.payload)
                for channel, deliver in (
                    (_MESSAGES, self._deliver_messages),
                    (_CHANGES, self._deliver_changes),
                ):
                    batch = notices[channel]
                    for first in range(0, len(batch), _MAX_BATCH):
                        await deliver(connection, batch[first : first + _MAX_BATCH])

    async def _deliver_changes(self, connection: AsyncConnection, notices: list[str]) -> None:
        numbers = [int(notice) for notice in notices]
        await deliver_changes(connection, numbers, self._topics, live=self._faults.replication)

    async def _deliver_messages(self, connection: AsyncConnection, notices: list[str]) -> None:
        """Fetch the announced rows and send them in the order in which they were committed."""
        keys = [notice.split(" ", 1) for notice in notices]
        cursor = await connection.execute(
            _ROWS, ([key[0] for key in keys], [key[1] for key in keys])
        )
        rows = {row[0]: row for row in await cursor.fetchall()}
        for key, *_ in keys:
            if key in rows and self._faults.replication:
                self._topics.broadcast(_broadcast(*rows[key]))


def _broadcast(
    key: str, topic: str, event: str, private: bool, payload: str | None, binary: bytes | None
) -> Broadcast:
    is_json = binary is None
    content = (payload or "null").encode() if binary is None else bytes(binary)
    return Broadcast(topic, private, event, content, is_json, {"id": key})
