"""A small pool of PostgreSQL connections, and a transaction as a given API caller."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection, sql

from crossfade.local.supabase.gateway import Identity

__all__ = [
    "ANON_TIMEOUT_MS",
    "OTHER_TIMEOUT_MS",
    "DatabaseGone",
    "NoConnectionFree",
    "Pool",
    "acting_as",
]

ANON_TIMEOUT_MS = 3_000
OTHER_TIMEOUT_MS = 8_000
"""Statement time-outs of a hosted project (service_role inherits the authenticator's)."""


class DatabaseGone(Exception):
    """No connection can be made."""


class NoConnectionFree(Exception):
    """All connections were busy for the whole wait."""


class Pool:
    """At most ``size`` connections, made when needed; a caller waits ``wait_s`` for one."""

    def __init__(self, url: str, *, size: int, wait_s: float = 10.0, authenticator: bool) -> None:
        self._url = url
        self._authenticator = authenticator
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit mode; it is thrown away when it broke or was left busy.

        Raises:
            DatabaseGone, NoConnectionFree: there is none.
        """
        try:
            await asyncio.wait_for(self._free.acquire(), self._wait_s)
        except TimeoutError:
            raise NoConnectionFree from None
        try:
            connection = await self._take()
            try:
                yield connection
            finally:
                if connection.closed or connection.broken or _is_busy(connection):
                    await connection.close()
                else:
                    self._idle.append(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> AsyncConnection:
        while self._idle:
            connection = self._idle.pop()
            try:
                # Finds out whether the server is still there (it may have been restarted).
                await connection.execute("")
            except psycopg.Error:
                await connection.close()
            else:
                return connection
        try:
            connection = await AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=5, application_name="crossfade stand-in"
            )
            if self._authenticator:
                # From here on only the API roles can be taken, as behind the real service.
                await connection.execute("set session authorization authenticator")
        except psycopg.Error as error:
            raise DatabaseGone(str(error).splitlines()[:1]) from None
        return connection


def _is_busy(connection: AsyncConnection) -> bool:
    return connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE


@asynccontextmanager
async def acting_as(
    connection: AsyncConnection,
    identity: Identity,
    *,
    read_only: bool = False,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """One transaction with the caller's role and claims, which row level security sees."""
    local = {
        "role": identity.role,
        "request.jwt.claims": json.dumps(dict(identity.claims)),
        "statement_timeout": str(ANON_TIMEOUT_MS if identity.role == "anon" else OTHER_TIMEOUT_MS),
        **(settings or {}),
    }
    async with connection.transaction():
        if read_only:
            await connection.execute("set transaction read only")
        calls: list[sql.Composable] = [
            sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
            for name, value in local.items()
        ]
        await connection.execute(sql.SQL("select ") + sql.SQL(", ").join(calls))
        yield
