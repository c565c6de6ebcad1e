"""How a caller shows Prefect who it is."""

import base64

__all__ = ["login_headers"]


def login_headers(auth: str) -> dict[str, str]:
    """The headers of a call to Prefect.

    Args:
        auth: ``user:password`` of a server with ``PREFECT_SERVER_API_AUTH_STRING``; an API key
            of Prefect Cloud, which has no colon; "" for a server that asks nobody.
    """
    if not auth:
        return {}
    if ":" not in auth:
        return {"Authorization": f"Bearer {auth}"}
    return {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
