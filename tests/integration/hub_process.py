"""A hub in a process of its own, which can be killed and started again on the same port."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TOKEN = "t"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class HubProcess:
    def __init__(
        self, folder: Path, *, control: dict[str, Any] | None = None, **websocket: Any
    ) -> None:
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self._settings = folder / "hub.toml"
        self._log = folder / "hub.log"
        sections = {
            "websocket": {"url": self.url, "token": TOKEN, "heads_s": 0.1, **websocket},
            "control": control or {},
        }
        lines: list[str] = []
        for section, values in sections.items():
            lines += [f"[{section}]", *(f"{name} = {value!r}" for name, value in values.items())]
        self._settings.write_text("\n".join([*lines, ""]).replace("'", '"'))
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = await asyncio.to_thread(
                subprocess.Popen,
                [
                    sys.executable,
                    "-m",
                    "crossfade.local.hub_process",
                    "--settings",
                    str(self._settings),
                ],
                stderr=log,
            )
        async with asyncio.timeout(20):
            while True:
                assert self.process.poll() is None, self._log.read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            await self.stop()
