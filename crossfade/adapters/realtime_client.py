"""Ending a client of realtime-py for good: its own ``close`` leaves tasks behind.

Reads private names of realtime 2.34; ``tests/unit/adapters/test_realtime.py`` notices when
they change. Also keeps the API key, which Realtime wants in the socket's address, out of what the
WebSocket library logs when an application asks it for everything.
"""

import asyncio
import logging
import re
from typing import Any

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, RealtimeChannelOptions

__all__ = ["dispose", "dispose_channel", "is_alive", "receive_only"]

CLOSE_S = 1.0
_KEY = re.compile(r"(apikey=|\"access_token\": ?\")[^&\s\"']+")


class _HideKeys(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _KEY.sub(r"\1…", str(value)) if _KEY.search(str(value)) else value
                for value in record.args
            )
        return True


logging.getLogger("websockets.client").addFilter(_HideKeys())


def receive_only() -> RealtimeChannelOptions:
    """A private channel on which nothing is sent, by nobody's presence either."""
    return {
        "config": {
            "broadcast": {"ack": False, "self": False},
            "presence": {"key": "", "enabled": False},
            "private": True,
        }
    }


def is_alive(client: AsyncRealtimeClient) -> bool:
    """Whether it is connected and something still reads its socket."""
    listening = client._listen_task
    return client.is_connected and listening is not None and not listening.done()


def dispose_channel(client: AsyncRealtimeClient, channel: AsyncRealtimeChannel) -> None:
    """Forget a channel: no rejoin, no time-outs, no callback."""
    channel.subscribe_callback = None
    channel.rejoin_timer.reset()
    for push in list(channel.messages_waiting_for_ack.values()):
        push.destroy()
    for task in list(channel._background_tasks):
        task.cancel()
    client._remove_channel(channel)


async def dispose(client: AsyncRealtimeClient) -> None:
    """Close the connection and end every task of the client."""
    for channel in client.get_channels():
        dispose_channel(client, channel)
    socket = client._ws_connection
    tasks: list[asyncio.Task[Any]] = [
        task for task in (client._listen_task, client._heartbeat_task) if task is not None
    ]
    try:
        async with asyncio.timeout(CLOSE_S):
            await client.close()
    except TimeoutError:
        if socket is not None:
            socket.transport.abort()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
