from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.maintenance.dead_letters import _priority, letter_row
from tests.support.malformed import envelope


def letter(raw: bytes, **about: object) -> bytes:
    head = json.dumps({"cause": "bad_body", "reason": "r", "at": 5.0, **about}).encode()
    return b"\n".join([b"agents\x06\x163", str(len(raw)).encode(), head, raw])


def test_all_parts_of_a_letter() -> None:
    raw = json.dumps(envelope([["hello"], {}, None])).encode() + b"\n\n"
    row = letter_row("i", letter(raw, task="t", step_id="s"))
    assert row == {
        "id": "i",
        "cause": "bad_body",
        "reason": "r",
        "queue": "agents",
        "task": "t",
        "step_id": "s",
        "payload": '[["hello"], {}, null]',
        "raw": base64.b64encode(raw).decode(),
        "size": len(raw),
        "at": 5.0,
    }


def test_oversized_ones_say_their_size() -> None:
    row = letter_row("i", b'a\n5000000\n{"cause": "oversized", "at": 1.5}\nxxx')
    assert row["reason"] == "The message has 5,000,000 bytes."
    assert row["task"] is row["step_id"] is None


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(envelope([["password=hunter2"], {}, None])).encode(),
        b"junk with api_key=hunter2 in it",
    ],
)
def test_what_people_see_is_redacted(raw: bytes) -> None:
    row = letter_row("i", letter(raw, task="password=hunter2", reason="token: hunter2"))
    del row["raw"]
    assert "hunter2" not in json.dumps(row)
    assert "***" in row["payload"]


@given(st.binary(max_size=3000), st.text())
def test_any_message_can_be_stored(raw: bytes, task: str) -> None:
    row = letter_row("i", letter(raw, task=task, step_id=task * 50))
    assert base64.b64decode(row["raw"]) == raw
    for column in ("payload", "task", "step_id"):
        text = row[column] or ""
        text.encode()  # no half of a surrogate pair
        assert "\x00" not in text
        assert len(text) <= 2000
    assert len(row["step_id"] or "") <= 155


@pytest.mark.parametrize(
    ("raw", "priority"),
    [
        (b'{"properties": {"priority": 7}}', 7),
        (b'{"properties": {"priority": 99}}', 9),
        (b'{"properties": {"priority": "x"}}', 0),
        (b'{"properties": {}}', 0),
        (b"junk", 0),
    ],
)
def test_priority(raw: bytes, priority: int) -> None:
    assert _priority(raw) == priority
