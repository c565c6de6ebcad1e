import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.local.supabase.wire import (
    Broadcast,
    ClientMessage,
    decode,
    encode_broadcast,
    encode_message,
)


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_a_client_message_is_read_in_both_versions(version: Any) -> None:
    wanted = ClientMessage("realtime:x", "phx_join", {"a": 1}, "2", "1")
    raw = (
        '{"topic":"realtime:x","event":"phx_join","payload":{"a":1},"ref":"2","join_ref":"1"}'
        if version == "1.0.0"
        else '["1","2","realtime:x","phx_join",{"a":1}]'
    )
    assert decode(raw, version) == wanted


@pytest.mark.parametrize(
    ("raw", "version"),
    [
        ("not json", "1.0.0"),
        ("[]", "1.0.0"),
        ('{"topic":1,"event":"e"}', "1.0.0"),
        ('{"topic":"t"}', "1.0.0"),
        ("{}", "2.0.0"),
        ('["1","2","t","e"]', "2.0.0"),
        ("null", "2.0.0"),
        ('["1","2","t","e",NaN]', "2.0.0"),
        ('["1","2","t","e","\\ud800"]', "2.0.0"),
        ("[" * 100_000, "2.0.0"),
        (b"\x03\x00", "2.0.0"),
        (b"\x04\x01\x02\x0c\x07\x00\x01", "2.0.0"),
        (b"\x03\x01\x02\x0c\x07\x00\x01short", "2.0.0"),
        (b"\x03\x00\x00\x01\x00\x00\x01\xff", "2.0.0"),
        (b"\x03\x01\x02\x0c\x07\x00\x01", "1.0.0"),
    ],
)
def test_what_is_no_message_is_none(raw: str | bytes, version: Any) -> None:
    assert decode(raw, version) is None


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    message = decode('["1","2","t","e","\\ud834\\udd1e"]', "2.0.0")
    assert message is not None
    assert message.payload == "𝄞"


@given(raw=st.binary(max_size=40))
def test_no_binary_frame_breaks_the_reader(raw: bytes) -> None:
    decode(b"\x03" + raw, "2.0.0")


def test_a_recorded_binary_push_becomes_the_recorded_broadcast() -> None:
    push = bytes.fromhex("0301020c0700013137377265616c74696d653a62696e65762d6a736f6e7b2278223a317d")
    message = decode(push, "2.0.0")
    assert message is not None
    assert (message.topic, message.ref, message.join_ref) == ("realtime:bin", "77", "1")
    assert message.binary is not None
    out = Broadcast("bin", False, message.payload["event"], message.binary, message.is_json)
    assert encode_broadcast("2.0.0", out) == bytes.fromhex(
        "040c0700017265616c74696d653a62696e65762d6a736f6e7b2278223a317d"
    )
    text = encode_broadcast("1.0.0", out)
    assert isinstance(text, str)
    assert json.loads(text)["payload"] == {
        "event": "ev-json",
        "payload": {"x": 1},
        "type": "broadcast",
    }


def test_the_content_of_a_row_is_not_re_formed() -> None:
    content = b'{"big": 123456789012345678901234567890, "one": 1.0, "n": {"b": 1, "a": 2}}'
    row = Broadcast("t", True, "e", content, True, {"id": "x"})
    for version in ("1.0.0", "2.0.0"):
        frame = encode_broadcast(version, row)  # type: ignore[arg-type]
        raw = frame.encode() if isinstance(frame, str) else frame
        assert raw is not None
        assert content in raw


def test_binary_content_does_not_reach_version_one() -> None:
    assert encode_broadcast("1.0.0", Broadcast("t", False, "e", b"\x00", False)) is None


def test_names_longer_than_a_byte_counts_have_no_binary_frame() -> None:
    assert encode_broadcast("2.0.0", Broadcast("t" * 250, False, "e", b"{}")) is None
    assert encode_broadcast("2.0.0", Broadcast("t", False, "e" * 256, b"{}")) is None


def test_replies_and_pushes() -> None:
    assert encode_message("2.0.0", "t", "phx_reply", {}, ref="1", join_ref="2") == (
        '["2","1","t","phx_reply",{}]'
    )
    assert json.loads(encode_message("1.0.0", "t", "phx_reply", {"é": 1}, ref="1")) == {
        "ref": "1",
        "payload": {"é": 1},
        "event": "phx_reply",
        "topic": "t",
    }
    push = Broadcast("t", False, envelope={"type": "broadcast", "event": "e", "payload": 1})
    assert encode_broadcast("2.0.0", push) == (
        '[null,null,"realtime:t","broadcast",{"event":"e","payload":1,"type":"broadcast"}]'
    )
