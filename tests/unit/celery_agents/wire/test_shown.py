from __future__ import annotations

from typing import Any

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.wire.shown import SHOWN, shown_args, shown_kwargs, shown_text

KEY = "sk-live-" + "0123456789abcdef0123456789"


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((), {}, "() {}"),
        (("hello", 1), {"agent": "a"}, "('hello', 1) {agent: 'a'}"),
        (("password=hunter2",), {"token": "b7"}, "('password=***') {token: '***'}"),
        ((), {"api_key": "b7" * 250}, "() {api_key: '***'}"),
        ((["a", {"apiKey": "b1"}],), {}, "(['a', {'apiKey': '***'}]) {}"),
    ],
)
def test_arguments_as_people_see_them(
    args: tuple[Any, ...], kwargs: dict[str, Any], expected: str
) -> None:
    assert f"{shown_args(args)} {shown_kwargs(kwargs)}" == expected


@given(st.lists(st.text() | st.lists(st.integers()), max_size=4))
def test_each_is_short(args: list[Any]) -> None:
    assert len(shown_args(args)) <= 2 + (SHOWN + 2) * len(args)


def test_a_secret_behind_the_cut_is_not_shown() -> None:
    assert "hunter" not in shown_args(["x" * (SHOWN - 12) + " password=hunter2"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'Paris'", "'Paris'"),
        (f"'use {KEY} now'", "'use *** now'"),
        ("'one two sk-live-0123...'", "'one two ..."),
        ("{'key': 'sk-live-0123...'}", "{'key': ..."),
        ("['a', 'redis://:hunter2...']", "['a', ..."),
        ("'sk-live-0123...'", "..."),
        ("Traceback:\n  sk-live-0123...", "Traceback:\n  ..."),
        ("", ""),
        ("... is no cut at its beginning", "... is no cut at its beginning"),
    ],
)
def test_a_cut_leaves_no_half_of_a_secret(text: str, shown: str) -> None:
    assert shown_text(text) == shown


@pytest.mark.parametrize("size", range(180, 230))
def test_celerys_cut_of_a_result(size: int) -> None:
    for value in ("." * size + KEY, {"a": "x " * (size // 2), "b": KEY}, ["y" * (size - 20), KEY]):
        assert "0123" not in shown_text(saferepr(value, 200))
