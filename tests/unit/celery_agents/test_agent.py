from __future__ import annotations

import doctest
import sys
from typing import Any

import pytest

from celery_agents import agent
from celery_agents.agent import AgentMark, mark_of
from celery_agents.errors import ConfigurationError


def test_a_function_under_its_own_name() -> None:
    @agent
    def greet(name: str) -> str:
        """Says hello.

        At length.
        """
        return f"hello {name}"

    assert mark_of(greet) == AgentMark(name="greet", description="Says hello.")
    assert greet("you") == "hello you"


def test_what_is_said_of_it() -> None:
    @agent(name="mailer", description="Sends.", effects="effect")
    async def send(text: str) -> None:
        """Not this."""

    mark = mark_of(send)
    assert mark == AgentMark(name="mailer", description="Sends.", effects="effect")


def test_what_is_no_agent() -> None:
    class Odd:
        __celery_agent__ = "a string"

    assert [mark_of(v) for v in (print, 1, None, Odd())] == [None] * 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"effects": "magic"}, r"^@agent: effects: .*'pure', 'idempotent' or 'effect'$"),
        ({"effects": "efect"}, "did you mean effect"),
        ({"name": "a\nb"}, "name: .*control character"),
    ],
)
def test_a_wrong_mark_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        agent(**options)(lambda x: x)


def test_the_example_of_the_docs() -> None:
    assert doctest.testmod(sys.modules[AgentMark.__module__]).failed == 0
