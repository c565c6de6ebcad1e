"""The stand-in behaves as the real Realtime server did in recorded sessions."""

import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from tests.contract.transcript import VECTORS, Player, differences
from tests.services import Postgres, Project, running_project

pytestmark = pytest.mark.xdist_group("transcripts")  # one set of services

USER = "11111111-1111-1111-1111-111111111111"
# The policies and the table that the recorded server's database had.
DATABASE = """
create policy read_topics on realtime.messages for select to authenticated
  using (realtime.topic() like 'topic:%' or realtime.topic() like 'readonly:%');
create policy write_topics on realtime.messages for insert to authenticated
  with check (realtime.topic() like 'topic:%');
create table public.broadcast_changes (id text primary key, value text, topic text);
create function public.announce_change() returns trigger language plpgsql security definer as $$
begin
  perform realtime.broadcast_changes(
    coalesce(new.topic, old.topic), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end $$;
create trigger announce_change after insert or update or delete on public.broadcast_changes
  for each row execute function public.announce_change();
"""
# (transcript, line): what is wrong with the token there, as the note of the session says.
TOKENS = {
    ("access_token", 7): {"exp": -5.0},
    ("access_token", 20): {"exp": 2.0},
    ("errors_connect", 6): {"secret": "another secret that is long enough"},
    ("errors_connect", 8): {"exp": -60.0},
    ("errors_connect", 10): {"exp": None},
    ("errors_connect", 12): {"role": None},
    ("errors_join", 6): {"secret": "another secret that is long enough"},
    ("errors_join", 8): {"exp": -60.0},
    ("errors_join", 10): {"exp": None},
    ("errors_join", 12): {"role": None},
    ("errors_join", 38): {"secret": "another secret that is long enough"},
    ("errors_join", 40): {"exp": -60.0},
    ("rest_broadcast", 25): {"secret": "another secret that is long enough"},
}
PLAYED = {
    "access_token",
    "basic_public_v1",
    "basic_public_v2",
    "binary_v2",
    "broadcast_from_database",
    "broadcast_replay",
    "errors_connect",
    "errors_join",
    "idle_close",
    "join_refs",
    "private_channel",
    "rest_broadcast",
}


@pytest.fixture(scope="module")
def recorded_project(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    with running_project(
        tmp_path_factory.mktemp("recorded"), postgres.create_database(), idle_s=3.0
    ) as project:
        project.sql(DATABASE)
        yield project


def token_for(project: Project, name: str, placeholder: str, line: int) -> str:
    _, role, *user = placeholder.strip("<>").split(":")
    wrong = TOKENS.get((name, line), {})
    claims: dict[str, object] = {"role": role, "exp": time.time() + 3_600}
    if user:
        claims["sub"] = USER
    if wrong.get("exp", 1.0) is None:
        del claims["exp"]
    elif "exp" in wrong:
        claims["exp"] = time.time() + float(str(wrong["exp"]))
    if "role" in wrong:
        del claims["role"]
    return jwt.encode(claims, str(wrong.get("secret", project.jwt_secret)), algorithm="HS256")


@pytest.mark.parametrize("name", sorted(PLAYED))
async def test_session_is_as_recorded(recorded_project: Project, name: str) -> None:
    player = Player(
        recorded_project.url,
        lambda placeholder, line: token_for(recorded_project, name, placeholder, line),
        recorded_project.sql,
    )
    assert await player.play(name) > 0


def test_every_session_that_is_kept_is_played() -> None:
    assert {path.stem for path in VECTORS.glob("*.jsonl")} == PLAYED


def test_differences_have_reasons_and_lines() -> None:
    for difference in differences():
        lines = (Path(VECTORS) / f"{difference['transcript']}.jsonl").read_text().splitlines()
        assert difference["reason"]
        assert all(1 <= line <= len(lines) for line in difference["lines"])
