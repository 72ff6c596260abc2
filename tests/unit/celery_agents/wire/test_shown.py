from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.wire.shown import SHOWN, shown_args, shown_kwargs


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((), {}, "() {}"),
        (("hello", 1), {"agent": "a"}, "('hello', 1) {agent: 'a'}"),
        (("password=hunter2",), {"token": "a"}, "('password=***') {token: 'a'}"),
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
