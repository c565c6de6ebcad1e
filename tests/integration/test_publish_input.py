"""``crossfade publish -`` ends in order while its input is still open."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"type":', "line 1: not valid JSON"),
        (b'{"type":"t","data":"' + b"x" * 70_000 + b'"}', "data: 70002 bytes, at most 65536"),
        (b'{"type":"t","data":1,"datum":2}', 'unknown field "datum"'),
    ],
    ids=["malformed", "too large", "unknown field"],
)
def test_a_bad_line_is_one_line_and_status_2(tmp_path: Path, line: bytes, fault: str) -> None:
    (tmp_path / "crossfade.toml").write_text('[websocket]\nurl = ""\n')
    with subprocess.Popen(
        [sys.executable, "-m", "crossfade.cli", "publish", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(line + b"\n")
        process.stdin.flush()  # and it stays open: more might come
        said = process.stderr.read().decode()
        assert process.wait(timeout=30) == 2
    assert fault in said
    assert said.splitlines()[0] == "published 0 events"
    assert len(said.splitlines()) == 2
