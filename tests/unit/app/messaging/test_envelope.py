from __future__ import annotations

import base64
import json
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual import Channel, Message

from app.messaging.envelope import MalformedError, _Headers, check_task, read_envelope
from tests.support.malformed import compressed, envelope

LIMIT = 100_000
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def message(given_envelope: dict[str, Any]) -> Message:
    channel: Any = type("Decoder", (), {"decode_body": Channel.decode_body})()
    channel.codecs = Channel.codecs
    made = Message(given_envelope, channel=channel)
    made.accept = {"application/json"}
    return made


def read(value: object) -> dict[str, Any]:
    return read_envelope(json.dumps(value).encode(), LIMIT)


def test_what_celery_writes_passes() -> None:
    one = envelope(headers={"timelimit": [None, 3], "eta": None, "stamps": {}, "retries": 0})
    assert read(one) == one
    check_task(message(one))


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "not_json"),
        (b"no json", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"__type__": "made-up", "__value__": "%"}', "not_an_object"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"{}", "bad_envelope"),
    ],
)
def test_bytes_that_are_no_message(raw: bytes, cause: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_envelope(raw, LIMIT)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("changes", "cause", "place"),
    [
        ({"headers": None}, "bad_envelope", "headers"),
        ({"properties": None}, "bad_envelope", "properties"),
        ({"properties": {}}, "bad_envelope", "properties.delivery_info"),
        ({"body": 5}, "bad_envelope", "body"),
        ({"body": None}, "bad_envelope", "body"),
        ({"content-type": 5}, "bad_envelope", "content-type"),
        ({"body": "%%%"}, "bad_base64", "not base64"),
        ({"body": "abc"}, "bad_base64", "not base64"),
    ],
)
def test_envelopes(changes: dict[str, Any], cause: str, place: str) -> None:
    with pytest.raises(MalformedError, match=place) as caught:
        read({**envelope(), **changes})
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (compressed(b"x"), "bad_compression"),
        (compressed(zlib.compress(b"x" * 50)[:-6]), "bad_compression"),
        (compressed(zlib.compress(b"x"), "application/x-lzma"), "bad_compression"),
        (compressed(zlib.compress(b"x"), ["gzip"]), "bad_compression"),
        (compressed(zlib.compress(b"0" * 10_000_000)), "oversized"),
    ],
)
def test_compression(made: dict[str, Any], cause: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(made)
    assert caught.value.cause == cause


def test_compressed_tasks_pass() -> None:
    data = zlib.compress(json.dumps([[], {}, None]).encode())
    check_task(message(read(compressed(data))))


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (envelope(headers={"task": None}), "bad_headers"),
        (envelope(headers={"task": ["a"]}), "bad_headers"),
        (envelope(headers={"task": ""}), "bad_headers"),
        (envelope(headers={"id": None}), "bad_headers"),
        (envelope(headers={"id": "x" * 156}), "bad_headers"),
        (envelope(headers={"timelimit": 5}), "bad_headers"),
        (envelope(headers={"timelimit": ["a", None]}), "bad_headers"),
        (envelope(headers={"eta": 5}), "bad_headers"),
        (envelope(headers={"retries": "2"}), "bad_headers"),
        (envelope(headers={"shadow": {}}), "bad_headers"),
        (envelope(headers={"stamped_headers": 1}), "bad_headers"),
        (envelope("text"), "bad_body"),
        (envelope(5), "bad_body"),
        (envelope({"args": [], "kwargs": {}}), "bad_body"),
        (envelope([[], {}]), "bad_body"),
        (envelope(["ab", {}, {}]), "bad_body"),
        (envelope([[], [], {}]), "bad_body"),
        (envelope([[], {}, "x"]), "bad_body"),
        (envelope([[], {}, {"callbacks": "x"}]), "bad_body"),
        (envelope([[], {}, {"chord": []}]), "bad_body"),
        (envelope() | {"content-type": "application/x-python-serialize"}, "unreadable_body"),
        (envelope() | {"content-type": "made/up"}, "unreadable_body"),
        (envelope() | {"body": base64.b64encode(b"{").decode()}, "unreadable_body"),
        (envelope() | {"body": ""}, "bad_body"),
    ],
)
def test_tasks(made: dict[str, Any], cause: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_task(message(read(made)))
    assert caught.value.cause == cause


def test_a_complaint_repeats_no_value() -> None:
    secret = "hunter2-and-more"
    with pytest.raises(MalformedError) as caught:
        check_task(message(envelope(headers={"retries": secret})))
    assert secret not in str(caught.value)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        read_envelope(raw, LIMIT)


@given(
    st.sampled_from(["headers", "properties", "body", "content-type", "content-encoding"]),
    json_values,
)
def test_no_envelope_raises_anything_else(part: str, value: Any) -> None:
    _checked(envelope() | {part: value})


@given(st.sampled_from([*_Headers.model_fields, "compression", "stamps", "made_up"]), json_values)
def test_no_header_raises_anything_else(name: str, value: Any) -> None:
    _checked(envelope(headers={name: value}))


@given(json_values)
def test_no_body_raises_anything_else(value: Any) -> None:
    _checked(envelope(value))


def _checked(made: dict[str, Any]) -> None:
    with suppress(MalformedError):
        check_task(message(read(made)))


def protocol_1(**body: Any) -> Message:
    return message(envelope({"task": "t", "id": "i", **body}) | {"headers": {}})


def test_a_message_of_protocol_1_becomes_one_of_2() -> None:
    told = {"args": ["x", "token=abc"], "kwargs": {"agent": "a"}, "retries": 2, "chord": None}
    one = protocol_1(**told, timelimit=[None, 3], errbacks=[{"task": "e"}], taskset=None, utc=True)
    check_task(one)
    assert (one.headers["task"], one.headers["id"], one.headers["retries"]) == ("t", "i", 2)
    assert one.headers["root_id"] == "i"
    assert "abc" not in one.headers["argsrepr"]
    args, kwargs, embed = one.decode()
    assert (args, kwargs, embed["errbacks"]) == (
        ["x", "token=abc"],
        {"agent": "a"},
        [{"task": "e"}],
    )
    assert json.loads(one.body) == [args, kwargs, embed]
    assert one.payload == one.decode()


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"args": "x"}, "bad_body"),
        ({"kwargs": [1]}, "bad_body"),
        ({"id": None}, "bad_headers"),
        ({"id": "a\0"}, "bad_headers"),
        ({"task": 7}, "bad_headers"),
        ({"eta": 7}, "bad_headers"),
        ({"callbacks": "x"}, "bad_body"),
    ],
)
def test_one_of_protocol_1_that_is_none(body: dict[str, Any], cause: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_task(protocol_1(**body))
    assert caught.value.cause == cause


@pytest.mark.parametrize("task_id", ["x" * 156, "a\0", "\ud83d", "", 7, None])
def test_no_id(task_id: object) -> None:
    with pytest.raises(MalformedError) as caught:
        check_task(message(envelope(headers={"id": task_id})))
    assert (caught.value.cause, str(caught.value)[:3]) == ("bad_headers", "id:")
