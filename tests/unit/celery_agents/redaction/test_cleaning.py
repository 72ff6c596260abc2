"""What its name alone makes a secret, by all ways on which values leave for those who watch."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.journal.queries.taped import CassetteLine, TapedCall
from app.journal.schema.sealed import event_shown
from app.journal.tables.audit import Act, entry
from app.telemetry.json_lines import JsonLines
from app.telemetry.lines import Lines
from app.watching import contents, streams
from app.watching.progress import Progress
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import AgentFailedError
from celery_agents.redaction.cleaning import brief, clean, clean_text
from celery_agents.wire.shown import shown_args, shown_kwargs

#: It looks like no key: a word as any other.
SECRET = "Swordfish"
NAMES = (
    *("password", "DB_PASSWORD", "passwd", "api_key", "apiKey", "X-Api-Key", "secret", "token"),
    *("authorization", "Authorization", "client_secret", "access_token", "privateKey", "cookies"),
)


def _logged(form: logging.Formatter, value: Any) -> str:
    made = logging.LogRecord("x", logging.INFO, "x", 1, "it got %s", (value,), None)
    return form.format(made)


def _progress(value: Any) -> Any:
    return Progress._told(SimpleNamespace(_hidden=False), {"x": value})  # type: ignore[arg-type]


def _event(value: Any) -> Any:
    row = SimpleNamespace(_mapping={"step_id": "s", "data": {"x": value}})
    return event_shown(None, row)  # type: ignore[arg-type]


WAYS: dict[str, Callable[[Any], Any]] = {
    "streams": lambda value: streams._shown({"x": value}),
    "progress": _progress,
    "traces": contents._text,
    "log": lambda value: _logged(Lines(logging.Formatter()), value),
    "log in JSON": lambda value: _logged(JsonLines(), value),
    "errors": lambda value: ErrorInfo.of(AgentFailedError("x", {"x": value})).details,
    "pages": _event,
    "Flower": lambda value: shown_args([value]) + shown_kwargs({"x": value}),
    "audit": lambda value: entry(Act("a", "b", data={"x": value})),
    "cassettes": lambda value: CassetteLine.of(
        TapedCall("a", "s", "n", "i", value, {"value": value})
    ),
}

named = st.sampled_from(NAMES)
secrets = st.sampled_from([SECRET, [SECRET], {"old": SECRET}, {"value": [SECRET, SECRET]}])
members = st.builds(lambda name, value: {name: value}, named, secrets)
pairs = st.builds(lambda name: {"name": name, "value": SECRET}, named)
options = st.builds(lambda name: [f"--{name}", SECRET], named)
around: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from([
    lambda value: {"about": value, "n": 1},
    lambda value: [1, value],
    lambda value: {"deep": [{"er": value}]},
    json.dumps,
])  # fmt: skip


@st.composite
def values(draw: st.DrawFn) -> Any:
    """A value with a secret in it, some levels deep, or in a JSON text, or in one in one."""
    value = draw(members | pairs | options)
    for wrap in draw(st.lists(around, max_size=4)):
        value = wrap(value)
    return value


@pytest.mark.parametrize("way", WAYS)
@given(value=values())
@example(value='{"a": "{\\"password\\": [\\"Swordfish\\"]}"}')
@example(value=json.dumps(json.dumps({"api_key": {"old": SECRET}})))
def test_no_way_tells_it(way: str, value: Any) -> None:
    assert SECRET not in str(WAYS[way](value))


@given(values())
def test_what_was_cleaned_stays_as_it_is(value: Any) -> None:
    once = clean(value)
    assert clean(once) == once


ORDINARY: tuple[Any, ...] = (
    {"tokens": 5, "usage": {"input_tokens": 3, "output_tokens": 4}, "max_tokens": 100},
    {"key": "member-1", "session": "monday", "keys": ["a", "b"]},
    {"code": "x1 = f(2)\nreturn x1", "path": "/tmp/a.txt", "author": "Ada"},
    {"question": "May I reset the password?", "token_count": 7, "secretary": "Mr Smith"},
    '{"spaced":   [1, 2],\n "as": "it was"}',
    "[not JSON",
    {"password": None, "token": True, "api_key": ""},
)


@pytest.mark.parametrize("value", ORDINARY)
def test_ordinary_values_stay(value: Any) -> None:
    assert clean(value) == value


def test_keys_and_values_that_are_no_json_are_shown() -> None:
    assert brief({1: {2, 3}, "password": b"x"}) == {"1": {2, 3}, "password": "***"}
    assert brief([SECRET], "password") == ["***"]


def test_depth_and_length_end_nothing() -> None:
    deep = "[" * sys.getrecursionlimit()
    assert clean_text(deep, limit=10**6)
    assert len(clean_text(json.dumps({"a": "b" * 10**6}))) <= 2_000
    assert clean_text('"' + "a" * 10) == '"' + "a" * 10
    assert len(str(brief(list(range(10**6))))) < 1_000


def test_many_keys_that_are_secrets_themselves_stay_short() -> None:
    """Each of a longer name than the one before would take time by the cube."""
    told = clean({"password": {f"{SECRET}{n}": n for n in range(500)}})
    assert isinstance(told, dict)
    inner = told["password"]
    assert isinstance(inner, dict)
    assert len(inner) == 500
    assert SECRET not in str(inner)
    assert max(map(len, inner)) < 20
