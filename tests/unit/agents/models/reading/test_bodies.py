from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models.reading.bodies import Body, bodies
from celery_agents.errors import BadAnswerError

A, B = {"a": "ü\u2028"}, {"b": [1]}
ASCII = st.dictionaries(st.text(max_size=5), st.text(max_size=9), min_size=1, max_size=3)


def found(content: bytes, size: int = 5) -> list[Body]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    async def scene() -> list[Body]:
        return [body async for body in bodies(pieces(), who="it")]

    return asyncio.run(scene())


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("content", "values"),
    [
        ('data: {"a": "ü\u2028"}\n\ndata: {"b": [1]}\n\n', [A, B]),
        ('data:{"a": "ü\u2028"}\r\n\r\ndata:{"b": [1]}\r\n\r\n', [A, B]),
        ('data: {"a": "ü\u2028"}\n\ndata: {"b": [1]}', [A, B]),  # no line's end at the end
        ('data: {"a": "ü\u2028"}\ndata: {"b": [1]}\n', [A, B]),  # no empty lines
        ('data: {"b":\ndata: [1]}\n\n', [B]),  # one event in two lines
        (': a comment\n\nid: 7\nretry: 9\ndata: {"b": [1]}\n\n', [B]),
        ('\ufeffdata: {"b": [1]}\n\n', [B]),
        ('\n\n \ndata: {"b": [1]}\n\ndata: \n\n', [B]),
        ('  {"b":\n [1]}\n', [B]),
        ('\ufeff{"b": [1]}', [B]),
        ('[{"a": "ü\u2028"},\n{"b": [1]}]', [A, B]),  # Gemini's stream without alt=sse
        ('{"a": "ü"}\n{"b": [1]}\n', [{"a": "ü"}, B]),
        ("", []),
        (": nothing but a comment\n\n", []),
        ("[]", []),
    ],
)
def test_values(content: str, values: list[Any], size: int) -> None:
    assert [body.value for body in found(content.encode(), size)] == values


@given(st.lists(ASCII, min_size=1, max_size=4), st.integers(1, 40), st.booleans())
def test_no_cut_between_bytes_matters(values: list[Any], size: int, as_stream: bool) -> None:
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    text = "".join(f"data: {one}\n\n" for one in texts) if as_stream else f"[{','.join(texts)}]"
    assert [body.value for body in found(text.encode(), size)] == values


@pytest.mark.parametrize(
    ("content", "last"),
    [
        (b"data: 1\n\n", [False]),  # a stream says so itself
        (b"data: 1\n\ndata: [DONE]\n\n", [False, True]),
        (b'{"a": 1}', [True]),  # a document that can be read is complete
        (b'[{"a": 1}, {"a": 2}]', [False, True]),
        (b'{"a": 1}\n{"a": 2}', [False, False]),
    ],
)
def test_whether_it_is_complete(content: bytes, last: list[bool]) -> None:
    assert [body.last for body in found(content)] == last


def test_events_keep_their_names() -> None:
    stream = (
        b"event: start\ndata: 1\n\nevent: end\ndata: 2\n\ndata: 3\n\nevent: x\ndata: 4\nevent: y"
    )
    told = [(body.event, body.value) for body in found(stream)]
    assert told == [("start", 1), ("end", 2), ("", 3), ("x", 4)]


@pytest.mark.parametrize(
    "content",
    [b"<html>502</html>", b"null", b"{broken", b"data: {broken\n\n", b"[1, 2", b"\xff\xfe", b"hi"],
)
def test_what_is_neither(content: bytes) -> None:
    with pytest.raises(BadAnswerError, match="it gave an unreadable answer"):
        found(content)
