"""The legacy side of a publisher: a callable, Crossfade's hub, or the application's own server."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from crossfade.core.codec import Codec, check_codec
from crossfade.core.event import Event
from crossfade.errors import InvalidEvent, SettingsError, StoreRejected
from crossfade.ports import LegacySend
from crossfade.settings import LegacySettings, Settings

__all__ = ["FrameSend", "LegacySide", "legacy_side", "load_codec", "reading_codec"]

FrameSend = Callable[[Sequence[str | bytes]], Awaitable[None]]
"""An application's own send of frames in its own format, in commit order."""

_WIRE_BYTES = 8_000
"""An event's attributes and a frame's envelope, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySide:
    """What is wired: ``send`` (sink ``application``), and for the sink ``websocket`` either the
    hub at ``hub_url`` or the ``server``, spoken to through ``codec``.
    """

    send: LegacySend | None
    hub_url: str
    server: LegacySettings | None
    codec: Codec | None

    @property
    def has_websocket(self) -> bool:
        """Whether there is a hub or a server."""
        return bool(self.hub_url) or self.server is not None


def legacy_side(
    settings: Settings, legacy: LegacySend | FrameSend | str | None, codec: Codec | None
) -> LegacySide:
    """What ``Publisher(settings, legacy=…, codec=…)`` means.

    Raises:
        SettingsError: the codec loses something on the way, or an event may not fit a frame.
    """
    own = settings.legacy
    if codec is not None:
        _check(codec)
    elif own.publish_url or (own.codec and isinstance(legacy, str)):
        codec = load_codec(own.codec)
    send = None if legacy is None or isinstance(legacy, str) else legacy
    url = legacy if isinstance(legacy, str) else None
    if codec is not None and send is None and (url or own.publish_url):
        server = own.model_copy(update={"publish_url": url or own.publish_url})
        return LegacySide(send=None, hub_url="", server=server, codec=codec)
    hub_url = settings.websocket.url if url is None else url
    if hub_url:
        _check_frames(settings)
    if send is not None and codec is not None:
        send = _through(codec, send)  # type: ignore[arg-type]  # with a codec it takes frames
    return LegacySide(send=send, hub_url=hub_url, server=None, codec=codec)  # type: ignore[arg-type]


def reading_codec(own: LegacySettings, codec: Codec | None) -> Codec | None:
    """What the tap reads the application's own server with; None where the hub is listened to.

    Raises:
        SettingsError: there is a server and no codec, or the codec loses something.
    """
    if not own.listen_url:
        return None
    if codec is None:
        return load_codec(own.codec)
    _check(codec)
    return codec


def load_codec(name: str) -> Codec:
    """The codec at ``module:attribute``, once it has carried every canary.

    Raises:
        SettingsError: it is not there, or what goes through it does not come back.
    """
    module, _, attribute = name.partition(":")
    try:
        codec: Codec = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            [f"legacy.codec: {name!r} must be module:attribute of a codec: {error}"]
        ) from error
    _check(codec)
    return codec


def _check(codec: Codec) -> None:
    faults = check_codec(codec)
    if faults:
        raise SettingsError([f"codec: {fault}" for fault in faults])


def _through(codec: Codec, send: FrameSend) -> LegacySend:
    async def encode_and_send(events: Sequence[Event]) -> None:
        try:
            frames = [codec.encode(event) for event in events]
        except InvalidEvent as error:
            raise StoreRejected(f"codec: {error}") from error
        await send(frames)

    return encode_and_send


def _check_frames(settings: Settings) -> None:
    # Content travels as a JSON string, whose escapes can double it.
    needed = 2 * settings.publisher.max_event_bytes + _WIRE_BYTES
    if settings.websocket.max_frame_bytes < needed:
        raise SettingsError(
            [
                f"websocket.max_frame_bytes: {settings.websocket.max_frame_bytes} is too little "
                f"for publisher.max_event_bytes = {settings.publisher.max_event_bytes}; "
                f"set it to {needed} or more"
            ]
        )
