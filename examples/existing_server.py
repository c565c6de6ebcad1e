"""A chat-like `websockets` server of one's own, with Crossfade's publisher added.

The lines marked (+) are all that was added. The server's old clients keep getting what they
always got; Crossfade's subscribers get the same events from the hub, and from Supabase
Realtime as the rollout proceeds.
"""

import asyncio
import json
import os

from websockets.asyncio.server import ServerConnection, broadcast, serve

from crossfade import Publisher  # (+)

clients: set[ServerConnection] = set()


async def to_clients(events):  # (+) called with committed events, in order
    for event in events:  # (+)
        broadcast(clients, json.dumps({"type": event.type, "order": event.payload}))


async def main() -> None:
    async with Publisher(legacy=to_clients) as publisher:  # (+)

        async def handler(connection: ServerConnection) -> None:
            clients.add(connection)
            try:
                async for message in connection:
                    order = json.loads(message)
                    # It was: broadcast(clients, json.dumps({"type": …, "order": order}))
                    await publisher.publish("order.placed", order, key=order["customer"])  # (+)
            finally:
                clients.discard(connection)

        port = int(os.environ.get("PORT", "9000"))
        async with serve(handler, "127.0.0.1", port):
            await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
