"""Ports of the embedded stack."""

import errno
import secrets
import socket

from crossfade.errors import PortTaken, StackError

__all__ = ["HOST", "check_free", "choose_ports", "free_port"]

HOST = "127.0.0.1"
# Below every system's range of outgoing ports (Linux from 32768, macOS from 49152): nothing
# that merely connects somewhere can take a port between its choice and its use.
_FIRST, _LAST = 20_000, 32_767


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """A port on the loopback that nobody listens on, outside the range of outgoing connections.

    Raises:
        StackError: none was found in 200 tries.
    """
    for _ in range(200):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in taken and _bindable(port):
            return port
    raise StackError(f"no free port found between {_FIRST} and {_LAST} on {HOST}")


def check_free(name: str, port: int) -> None:
    """Check that a port that the user fixed can be had.

    Raises:
        PortTaken: naming the service, the port and what to do.
    """
    if not _bindable(port):
        raise PortTaken(
            f"port {port} for {name} is taken on {HOST}; "
            "choose another, or leave the option out for a free one"
        )


def choose_ports(wanted: dict[str, int]) -> dict[str, int]:
    """A port for every service: the fixed ones as they are, a free one for every 0.

    Raises:
        PortTaken: a fixed one is in use, or two services were given the same.
    """
    fixed = {name: port for name, port in wanted.items() if port}
    for name, port in fixed.items():
        twin = next((other for other in fixed if other != name and fixed[other] == port), None)
        if twin is not None:
            raise PortTaken(f"port {port} was given to both {name} and {twin}")
        check_free(name, port)
    chosen = dict(fixed)
    for name in wanted:
        if name not in chosen:
            chosen[name] = free_port(frozenset(chosen.values()))
    return chosen


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that the closed connections of a former one do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True
