"""What the contract suites run against: the stand-in always, a real project when one is named.

The environment names one (docs/guides/supabase-project.md):

* ``CROSSFADE_TEST_SUPABASE_URL``, ``…_ANON_KEY``, ``…_SERVICE_ROLE_KEY``: all three, or none;
* ``…_JWT_SECRET`` or ``…_ACCESS_TOKEN``: a user's token, for what a subscriber does;
* ``…_DB_URL``: the database, for what only its catalog tells.

Its migrations must be applied. The suites leave events of sources ``contract-…`` there, which are
removed at the end when the database is named.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from crossfade.local.keys import mint_token
from crossfade.settings import Settings
from tests.services import Project

PREFIX = "CROSSFADE_TEST_SUPABASE_"
NEEDED = ("URL", "ANON_KEY", "SERVICE_ROLE_KEY")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A Supabase project, whichever it is."""

    name: str
    url: str
    anon_key: str
    service_role_key: str
    access_token: str
    database_url: str = ""

    def settings(self) -> Settings:
        """Settings whose ``supabase`` section is this project."""
        return Settings.model_validate(
            {
                "supabase": {
                    "url": self.url,
                    "anon_key": self.anon_key,
                    "service_role_key": self.service_role_key,
                    "access_token": self.access_token,
                    "timeout_s": 15,
                }
            }
        )


def stand_in(project: Project, name: str = "stand-in") -> Target:
    return Target(
        name=name,
        url=project.url,
        anon_key=project.anon_key,
        service_role_key=project.service_role_key,
        access_token=project.token(),
        database_url=project.database_url,
    )


def real_project(environment: Mapping[str, str]) -> Target | None:
    """The project that the environment names; None when it names none.

    Raises:
        ValueError: it names one in part: better an error than tests that quietly did not run.
    """
    given = {
        name.removeprefix(PREFIX): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value
    }
    if not given:
        return None
    missing = [PREFIX + name for name in NEEDED if name not in given]
    token = given.get("ACCESS_TOKEN", "")
    if secret := given.get("JWT_SECRET"):
        token = mint_token(secret, "authenticated", subject="11111111-1111-1111-1111-111111111111")
    if not token:
        missing.append(f"{PREFIX}JWT_SECRET or {PREFIX}ACCESS_TOKEN")
    if missing:
        raise ValueError(f"a real project for tests needs also {', '.join(missing)}")
    return Target(
        name="project",
        url=given["URL"],
        anon_key=given["ANON_KEY"],
        service_role_key=given["SERVICE_ROLE_KEY"],
        access_token=token,
        database_url=given.get("DB_URL", ""),
    )


REAL = real_project(os.environ)
TARGETS = ["stand-in", *(["project"] if REAL is not None else [])]
BOTH_KINDS = [*TARGETS, "stand-in, opaque keys"]
"""For what depends on the kind of keys; parametrise ``target`` with it, indirectly."""
