"""Ports: the fixed ones checked, the free ones different and free."""

import socket

import pytest

from crossfade.errors import PortTaken
from crossfade.local.addresses import HOST, choose_ports, free_port


def test_a_fixed_port_that_is_taken_is_named_with_its_service() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} for hub is taken"):
            choose_ports({"postgres": 0, "hub": port})


def test_one_port_for_two_services_is_refused() -> None:
    port = free_port()
    with pytest.raises(PortTaken, match="both hub and control"):
        choose_ports({"hub": port, "control": port})


def test_free_ports_differ_and_can_be_listened_on() -> None:
    ports = choose_ports({"a": 0, "b": 0, "c": 0, "d": free_port()})
    assert len(set(ports.values())) == 4
    for port in ports.values():
        with socket.create_server((HOST, port)):
            pass


def test_a_port_that_is_listened_on_or_given_away_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used, given, third = free_port(), free_port(), free_port()
    offers = iter([used - 20_000, given - 20_000, third - 20_000])
    monkeypatch.setattr("secrets.randbelow", lambda _: next(offers))
    with socket.create_server((HOST, used)):
        assert free_port(frozenset({given})) == third


def test_a_port_is_free_again_right_after_its_server_ended() -> None:
    port = free_port()
    with socket.create_server((HOST, port)) as server:
        client = socket.create_connection((HOST, port))
        served, _ = server.accept()
        # The server's end closes first, so its port lingers in TIME_WAIT.
        served.close()
        client.recv(1)
        client.close()
    assert choose_ports({"hub": port}) == {"hub": port}
