"""Answers of the page's forms."""

from __future__ import annotations

from typing import Any

import pytest

from api.problems import ProblemError
from api.ui.routes import choice_of


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({"choice": "true", "reason": "ignored"}, True),
        ({"choice": "false"}, False),
        ({"choice": "false", "reason": " too dear "}, "too dear"),
        ({"choice": "false", "reason": "yes"}, False),
        ({"choice": "false", "reason": "True"}, False),
        ({"choice": '""', "reason": "yes"}, "yes"),
        ({"choice": '"a"', "reason": "b"}, "a"),
    ],
)
def test_an_answer(fields: dict[str, str], choice: Any) -> None:
    assert choice_of(fields) == choice


@pytest.mark.parametrize("fields", [{}, {"choice": "x"}, {"choice": "[" * 100_000}])
def test_what_is_no_answer(fields: dict[str, str]) -> None:
    with pytest.raises(ProblemError):
        choice_of(fields)
