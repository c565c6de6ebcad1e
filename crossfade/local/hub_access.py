"""Who may connect to the reference hub, and as what."""

import hmac

from websockets.asyncio.server import ServerConnection

from crossfade.errors import SettingsError
from crossfade.settings import WebSocketSettings

__all__ = ["Access", "Refusal"]

ROLES = ("publisher", "subscriber", "tap")


class Refusal(Exception):
    """Ends a connection with an error frame and a close code."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class Access:
    """The hub's rules: origins of browsers, one token for everything, one for listening only.

    Raises:
        SettingsError: only the listeners' token is set, so that everybody could publish.
    """

    def __init__(self, settings: WebSocketSettings) -> None:
        self._origins = settings.origins
        self._token = settings.token.get_secret_value().encode()
        self._listening = settings.subscriber_token.get_secret_value().encode()
        if self._listening and not self._token:
            raise SettingsError(
                [
                    "websocket.token: must be set on the hub beside websocket.subscriber_token; "
                    "without it everybody may publish"
                ]
            )

    def check_origin(self, connection: ServerConnection) -> None:
        """A browser tells where its page came from; other clients do not, and pass.

        Raises:
            Refusal: 4403.
        """
        request = connection.request
        origin = None if request is None else request.headers.get("Origin")
        if origin is not None and "*" not in self._origins and origin not in self._origins:
            raise Refusal(4403, f"origin {origin[:100]} is not allowed")

    def role(self, token: str, role: object) -> str:
        """The role that a hello asks for, if its token may have it.

        Raises:
            Refusal: 4401 for the token, 4400 for the role.
        """
        given = token.encode()
        everything = not self._token or hmac.compare_digest(given, self._token)
        listening = bool(self._listening) and hmac.compare_digest(given, self._listening)
        if not everything and not listening:
            raise Refusal(4401, "wrong token")
        if role not in ROLES:
            raise Refusal(4400, "role must be publisher, subscriber or tap")
        if role == "publisher" and not everything:
            raise Refusal(4401, "this token may listen and not publish")
        return str(role)
