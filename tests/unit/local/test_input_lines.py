"""Lines that are events, and lines that are not, each with its number and fault."""

import gzip
import io
from pathlib import Path

import pytest

from crossfade.errors import InvalidEvent, UsageError
from crossfade.local import input_lines
from crossfade.local.input_lines import InputLine, open_lines, parsed


def read(text: str) -> list[InputLine]:
    return list(parsed(io.BytesIO(text.encode()), "file"))


def test_every_field_is_kept_as_it_stands() -> None:
    (event,) = read('{"id":"a","type":"t","time":"2013-01-01T00:00:00Z","key":"k","data":{"n":1}}')
    assert event.number == 1
    assert event.fields == {
        "id": "a",
        "type": "t",
        "time": "2013-01-01T00:00:00Z",
        "key": "k",
        "data": {"n": 1},
    }


def test_empty_lines_are_passed_over_and_counted() -> None:
    events = read('{"type":"t","data":null}\n\n  \n{"type":"u","key":null,"data":[1]}')
    assert [(event.number, event.type, event.data) for event in events] == [
        (1, "t", None),
        (4, "u", [1]),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"type":"t","data":1', "not valid JSON"),
        ('["t"]', "must be an object"),
        ('{"data":1}', 'field "type" is missing'),
        ('{"type":"t"}', 'field "data" is missing'),
        ('{"type":"t","data":1,"datum":2}', 'unknown field "datum"'),
        ('{"type":"","data":1}', "type: must not be empty"),
        ('{"type":7,"data":1}', "type: must be a string"),
        ('{"type":"t","data":1,"data":2}', "appears twice"),
        ('{"type":"t","data":NaN}', "NaN is not JSON"),
    ],
)
def test_a_wrong_line_is_named_with_its_fault(line: str, fault: str) -> None:
    good = '{"type":"t","data":1}\n'
    found = parsed(io.BytesIO((good + line + "\n" + good).encode()), "flights.jsonl")
    assert next(found).number == 1
    with pytest.raises(InvalidEvent) as caught:
        next(found)
    assert str(caught.value).startswith("flights.jsonl: line 2: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_lines, "MAX_LINE_BYTES", 100)
    with pytest.raises(InvalidEvent, match="line 1: longer than 100 bytes"):
        read('{"type":"' + "x" * 200)


def test_a_compressed_file_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"type":"t","data":1}\n'))
    with open_lines(path) as lines:
        assert [event.type for event in parsed(lines, "x")] == ["t"]


PACKED = gzip.compress(b'{"type":"t","data":1}\n')


@pytest.mark.parametrize(
    "content",
    [b"plain text\n", PACKED[:-12], PACKED[:10] + b"\xff" * 20],
    # Not the contents: a gzip header holds the time, which differs between test processes.
    ids=["plain", "cut short", "garbage inside"],
)
def test_a_broken_compressed_file_is_an_error_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(content)
    with open_lines(path) as lines, pytest.raises(InvalidEvent, match="can not be read"):
        list(parsed(lines, "x"))


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"), open_lines(tmp_path / "none"):
        pass
