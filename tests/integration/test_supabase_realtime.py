"""The stand-in's Realtime beyond the recorded sessions: limits, faults, losses, the end."""

import asyncio
import contextlib
import json
import time
import urllib.request

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.phoenix import WAIT_S, Phoenix, phoenix
from tests.services import Project


async def joined(client: Phoenix, project: Project, topic: str) -> None:
    answer = await client.join(f"crossfade:{topic}", token=project.token(), private=True)
    assert answer["status"] == "ok", answer


def send(project: Project, topic: str, *numbers: int) -> None:
    """One transaction that sends a frame per number."""
    project.sql(
        "select realtime.send(jsonb_build_object('n', n), 'events', %s, true) "
        "from unnest(%s::int[]) as n",
        f"crossfade:{topic}",
        list(numbers),
    )


async def closing_code(client: Phoenix) -> int | None:
    await asyncio.wait_for(client.socket.wait_closed(), WAIT_S)
    return client.socket.close_code


async def test_rows_come_in_the_order_of_their_transactions(project: Project) -> None:
    async with phoenix(project) as client:
        await joined(client, project, "order")
        send(project, "order", *range(300))
        send(project, "order", *range(300, 310))
        numbers = [(await client.receive())["payload"]["payload"]["n"] for _ in range(310)]
        assert numbers == list(range(310))


async def test_rows_of_a_rolled_back_transaction_are_not_sent(project: Project) -> None:
    async with phoenix(project) as client:
        await joined(client, project, "rollback")
        with pytest.raises(Exception, match="division by zero"):
            project.sql(
                "select realtime.send('{\"n\":1}', 'events', 'crossfade:rollback', true), 1 / "
                "(select count(*) from realtime.messages where false)"
            )
        send(project, "rollback", 2)
        assert (await client.receive())["payload"]["payload"]["n"] == 2


async def test_rows_committed_while_replication_is_lost_are_never_sent(project: Project) -> None:
    async with phoenix(project) as client:
        await joined(client, project, "lost")
        project.fault(replication=False)
        try:
            send(project, "lost", 1)
        finally:
            project.fault(replication=True)
        await project.until_healthy()
        send(project, "lost", 2)
        assert (await client.receive())["payload"]["payload"]["n"] == 2


async def test_a_killed_replication_comes_back_without_what_it_missed(
    fresh_project: Project,
) -> None:
    async with phoenix(fresh_project) as client:
        await joined(client, fresh_project, "killed")
        # In one transaction, so that the row is committed when nobody listens any more.
        fresh_project.sql(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where application_name = 'crossfade replication' "
            "and datname = current_database()"
        )
        send(fresh_project, "killed", 1)
        await fresh_project.until_healthy()
        send(fresh_project, "killed", 2)
        assert (await client.receive())["payload"]["payload"]["n"] == 2


async def test_dropped_live_frames_are_dropped_silently(project: Project) -> None:
    async with phoenix(project) as client:
        await joined(client, project, "dropped")
        project.fault(drop_live=True)
        try:
            send(project, "dropped", 1)
            await asyncio.sleep(0.3)
            await client.heartbeat()
        finally:
            project.fault(drop_live=False)
        send(project, "dropped", 2)
        assert (await client.receive())["payload"]["payload"]["n"] == 2


async def test_sockets_can_be_closed_and_handshakes_refused(fresh_project: Project) -> None:
    async with phoenix(fresh_project) as client:
        await joined(client, fresh_project, "closed")
        fresh_project.fault(close_sockets=1012, refuse=True)
        assert await closing_code(client) == 1012
        with pytest.raises(InvalidStatus) as refused:
            async with phoenix(fresh_project):
                pass
        assert refused.value.response.status_code == 503
        fresh_project.fault(refuse=False)
        async with phoenix(fresh_project) as again:
            await again.heartbeat()


async def test_expired_tokens_end_private_channels_until_new_ones_come(
    fresh_project: Project,
) -> None:
    old = fresh_project.token()
    async with phoenix(fresh_project) as client, httpx.AsyncClient() as http:
        await joined(client, fresh_project, "expiry")
        assert (await client.join("public"))["status"] == "ok"
        fresh_project.fault(expire_tokens=True)
        message = await client.receive()
        assert message["payload"]["message"] == "Token has expired 0 seconds ago"
        assert (await client.receive())["event"] == "phx_close"
        answer = await client.join("crossfade:expiry", token=old, private=True)
        assert answer["response"]["reason"].startswith("InvalidJWTToken: Token has expired")
        headers = {"apikey": fresh_project.anon_key, "authorization": f"Bearer {old}"}
        refused = await http.post(f"{fresh_project.url}/rest/v1/rpc/x", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "PGRST303")
        # A second later a new token is good, and the keys always were.
        new = fresh_project.token(now_s=time.time() + 1)
        answer = await client.join("crossfade:expiry", token=new, private=True)
        assert answer["status"] == "ok"
        headers = {"apikey": fresh_project.anon_key}
        found = await http.post(f"{fresh_project.url}/rest/v1/rpc/x", headers=headers)
        assert found.status_code == 404


async def test_a_flood_closes_the_channels_of_sender_and_receivers(
    fresh_project: Project,
) -> None:
    async with httpx.AsyncClient() as http:
        quotas = {"max_events_per_second": 50, "tick_s": 0.2}
        answer = await http.post(f"{fresh_project.url}/_quotas", json=quotas)
        assert answer.json()["max_events_per_second"] == 50
        async with phoenix(fresh_project) as sender, phoenix(fresh_project) as receiver:
            await joined(receiver, fresh_project, "flood")
            # Rows of the database count as well.
            await joined(sender, fresh_project, "flood")
            deadline = time.monotonic() + WAIT_S
            event = ""
            while event != "system":
                assert time.monotonic() < deadline, "a flood is let through"
                send(fresh_project, "flood", *range(100))
                for _ in range(100):
                    message = await receiver.receive()
                    event = message["event"]
                    if event == "system":
                        break
            assert message["payload"]["message"] == "Too many messages per second"
            assert (await receiver.receive())["event"] == "phx_close"
            while (message := await sender.receive())["event"] == "broadcast":
                pass
            assert message["event"] == "system"
            assert (await sender.receive())["event"] == "phx_close"


async def test_sigterm_closes_sockets_with_1012_and_ends(fresh_project: Project) -> None:
    async with phoenix(fresh_project) as client, phoenix(fresh_project) as hanging:
        await joined(client, fresh_project, "end")
        fresh_project.fault(hang=True)
        waiting = asyncio.create_task(
            asyncio.to_thread(_get, f"{fresh_project.url}/realtime/v1/api/ping")
        )
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await asyncio.to_thread(fresh_project.stop) == 0
        assert time.monotonic() - began < 8
        assert await closing_code(client) == 1012
        assert await closing_code(hanging) == 1012
        await waiting


def _get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except OSError:
        return 0


async def test_a_payload_over_three_megabytes_is_refused_and_over_five_closes(
    project: Project,
) -> None:
    def push(size: int) -> dict[str, object]:
        return {"type": "broadcast", "event": "e", "payload": {"s": "x" * size}}

    async with phoenix(project) as client:
        await client.join("big", ack=True)
        answer = await client.reply(await client.push("realtime:big", "broadcast", push(10)))
        assert answer == {"status": "ok", "response": {}}
        answer = await client.reply(await client.push("realtime:big", "broadcast", push(3_200_000)))
        assert answer == {"status": "error", "response": "payload_size_exceeded"}
        with contextlib.suppress(ConnectionClosed):  # it may close before everything is sent
            await client.push("realtime:big", "broadcast", push(5_100_000))
        assert await closing_code(client) == 1009


async def test_a_connection_has_at_most_a_hundred_channels(project: Project) -> None:
    async with phoenix(project) as client:
        for number in range(100):
            assert (await client.join(f"c{number}"))["status"] == "ok"
        assert await client.join("one-more") == {
            "status": "error",
            "response": {"reason": "ChannelRateLimitReached: Too many channels"},
        }


async def test_the_service_role_may_join_private_channels(project: Project) -> None:
    async with phoenix(project, key=project.service_role_key) as client:
        assert (await client.join("crossfade:x", private=True))["status"] == "ok"


async def test_a_topic_that_is_not_ours_stays_closed(project: Project) -> None:
    async with phoenix(project) as client:
        answer = await client.join("elsewhere", token=project.token(), private=True)
        assert "Unauthorized" in answer["response"]["reason"]


async def test_binary_rows_are_replayed_where_they_can_travel(project: Project) -> None:
    topic = "crossfade:binary-replay"
    project.sql("select realtime.send_binary('\\x00ff7d'::bytea, 'blob', %s, true)", topic)
    project.sql("select realtime.send('{\"n\": 1}', 'text', %s, true)", topic)
    replay = {"since": int(time.time() * 1_000) - 60_000, "limit": 10}
    async with phoenix(project) as client:  # 1.0.0, which has no binary frames
        answer = await client.join(topic, token=project.token(), private=True, replay=replay)
        assert answer["status"] == "ok"
        assert (await client.receive())["payload"]["event"] == "text"
        await client.heartbeat()
    config = {"private": True, "broadcast": {"replay": replay}}
    join = ["1", "1", f"realtime:{topic}", "phx_join", {"config": config}]
    join[4]["access_token"] = project.token()  # type: ignore[index]
    url = project.url.replace("http", "ws", 1)
    async with connect(
        f"{url}/realtime/v1/websocket?apikey={project.anon_key}&vsn=2.0.0", compression=None
    ) as socket:
        await socket.send(json.dumps(join))
        frames = [await asyncio.wait_for(socket.recv(), WAIT_S) for _ in range(3)]
    assert isinstance(frames[1], bytes)
    sizes = frames[1][1:4]  # of topic, event and metadata
    names = frames[1][5 : 5 + sum(sizes)]
    assert names[: sizes[0] + sizes[1]] == f"realtime:{topic}blob".encode()
    assert json.loads(names[sizes[0] + sizes[1] :])["replayed"] is True
    assert (frames[1][0], frames[1][4], frames[1][5 + sum(sizes) :]) == (4, 0, b"\x00\xff\x7d")
    assert json.loads(frames[2])[4]["event"] == "text"


async def test_faults_are_for_this_machine_and_checked(project: Project) -> None:
    async with httpx.AsyncClient() as http:
        url = f"{project.url}/_faults"
        assert (await http.get(url)).json() == {
            "refuse": False,
            "hang": False,
            "slow_ms": 0,
            "drop_live": False,
            "replication": True,
        }
        page = {"origin": "http://elsewhere.example"}
        assert (await http.post(url, json={}, headers=page)).status_code == 403
        for wrong in (
            {"refuse": 1},
            {"nonsense": True},
            {"slow_ms": -1},
            {"close_sockets": 7},
            {"expire_tokens": 1},
        ):
            assert (await http.post(url, json=wrong)).status_code == 422
        assert (await http.post(url, content=b"no")).status_code == 422
