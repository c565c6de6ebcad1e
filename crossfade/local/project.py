"""A real Supabase project instead of the stand-in: can it be used as it is?"""

from crossfade.core.finding import Level
from crossfade.doctor import Examination, examine
from crossfade.errors import UsageError
from crossfade.settings import Settings

__all__ = ["check_project"]


async def check_project(settings: Settings) -> None:
    """Ask the project what the doctor asks of it; changes nothing in it.

    Raises:
        UsageError: it can not be reached, refuses a key, lacks the schema, or is open to the
            wrong people; says of each what to do.
    """
    found = await examine(Examination(settings=settings), ("keys", "project"))
    wrong = [f"{one.name}: {one.detail} → {one.action}" for one in found if one.level is Level.RED]
    if wrong:
        raise UsageError(f"supabase.url {settings.supabase.url}: {'; '.join(wrong)}")
