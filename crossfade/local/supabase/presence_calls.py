"""Presence pushes of a client, and whether a client may send on its channel at all."""

import time

from crossfade.local.supabase.authorize import Extension, may_read, may_write
from crossfade.local.supabase.channels import TOO_MANY, Channel, Topics
from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.joins import DATABASE_ERRORS
from crossfade.local.supabase.presence import new_reference
from crossfade.local.supabase.wire import ClientMessage

__all__ = ["handle_presence", "may_send"]


async def may_send(channel: Channel, extension: Extension, pool: Pool) -> bool:
    """Whether the policies let the channel send; asked once per token.

    Raises:
        psycopg.Error, DatabaseGone, NoConnectionFree: it could not be asked.
    """
    if not channel.private:
        return True
    if extension not in channel.may_write:
        channel.may_write[extension] = await may_write(
            pool, channel.identity, channel.topic, extension
        )
    return channel.may_write[extension]


async def handle_presence(
    channel: Channel, message: ClientMessage, topics: Topics, pool: Pool
) -> None:
    """``track`` or ``untrack``; too many calls close the channel."""
    payload = message.payload if isinstance(message.payload, dict) else {}
    event, state = str(payload.get("event", "")).lower(), payload.get("payload", {})
    if event == "track" and not isinstance(state, dict):
        channel.reply(message.ref, "error", {"reason": "Presence track payload must be a map"})
        return
    if not channel.calls.allows(time.monotonic()):
        channel.expel("Client presence rate limit exceeded")
        return
    if topics.floods():
        channel.expel(TOO_MANY)
        return
    try:
        known = event in ("track", "untrack")
        if not known or (event == "track" and not await may_send(channel, "presence", pool)):
            channel.reply(message.ref, "error", {})
            return
        sees = channel.sees_presence or not channel.private
        if event == "track" and not sees:
            sees = await may_read(pool, channel.identity, channel.topic, "presence")
    except DATABASE_ERRORS:
        channel.reply(message.ref, "error", {})
        return
    channel.reply(message.ref, "ok", {})
    if event == "untrack":
        topics.untrack(channel)
        return
    if sees and not channel.sees_presence:
        # The real server, too, lets the first track switch presence on.
        channel.sees_presence = True
        channel.send("presence_state", topics.presence_state(channel))
    topics.track(channel, state, new_reference())
