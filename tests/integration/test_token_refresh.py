"""Access tokens that live for seconds, renewed under load: nobody notices."""

import asyncio
import logging
from pathlib import Path

import pytest

from crossfade.core.route import REALTIME
from crossfade.settings import SupabaseSettings
from crossfade.subscriber import Subscriber
from tests.integration.scene import PARTITIONS, Consumer, Scene, wait_for
from tests.services import Project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase"), pytest.mark.timeout(150)]

LIFETIME_S = 2.5


async def test_a_subscriber_stays_joined_and_fills_across_expiries(
    tmp_path: Path, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[str] = []

    async def fresh() -> str:
        given.append(project.token(lifetime_s=LIFETIME_S, subject=f"user-{len(given)}"))
        return given[-1]

    with caplog.at_level(logging.DEBUG):
        async with Scene(tmp_path, project) as scene:
            # The server's key would hide that a token has expired.
            project_only = scene.settings.supabase.model_dump(
                exclude={"service_role_key", "access_token"}
            )
            section = SupabaseSettings.model_validate(project_only)
            mine = scene.settings.model_copy(update={"supabase": section})
            subscriber = Subscriber(mine, flags=scene.flags, access_token=fresh)
            scene.flags.set(scene.serve(100, version=1))
            async with Consumer(subscriber) as consumer:
                async with scene.load(batch=3, pause_s=0.05):
                    await wait_for(
                        lambda: sum(map(len, subscriber.serving()[REALTIME].values())) == PARTITIONS
                    )
                    began = len(given)
                    # Two whole lives of a token.
                    await asyncio.sleep(2 * LIFETIME_S)
                    await wait_for(lambda: len(given) >= began + 2)
                await consumer.all_of(scene.published)
                assert subscriber.switch_failures == 0
                assert subscriber.fallen_back == 0
    assert caplog.text.count("joined Realtime at") == 1, "never rejoined"
    assert not any(token in caplog.text for token in given)
