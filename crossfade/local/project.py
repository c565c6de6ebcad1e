"""A real Supabase project instead of the stand-in: can it be used as it is?"""

import httpx
import orjson

from crossfade.errors import UsageError
from crossfade.settings import SupabaseSettings

__all__ = ["check_project"]

_TIMEOUT_S = 15.0


async def check_project(project: SupabaseSettings) -> None:
    """Ask the project for its health; changes nothing in it.

    Raises:
        UsageError: it can not be reached, refuses the key, or lacks the schema; says what to do.
    """
    key = project.service_role_key.get_secret_value()
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await client.post(
                f"{project.url.rstrip('/')}/rest/v1/rpc/crossfade_health_v1",
                headers={"apikey": key, "Authorization": f"Bearer {key}"},
                json={},
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise UsageError(f"supabase.url {project.url}: no answer: {reason}") from error
    if answer.status_code in (401, 403):
        raise UsageError(
            f"supabase.url {project.url}: the service role's key is refused "
            "(supabase.service_role_key or SUPABASE_SERVICE_ROLE_KEY)"
        )
    if answer.status_code == 404:
        raise UsageError(
            f"supabase.url {project.url}: has no Crossfade schema; apply supabase/migrations, "
            "for instance with `supabase db push`"
        )
    if not answer.is_success:
        raise UsageError(f"supabase.url {project.url}: its health is {answer.status_code}")
    try:
        health = orjson.loads(answer.content)
        ready = bool(health["partition_today"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"supabase.url {project.url}: is no Supabase project: {error}") from error
    if not ready:
        raise UsageError(
            f"supabase.url {project.url}: realtime.messages has no partition for today, so "
            "nothing would be sent live; open a Realtime connection to the project once"
        )
