from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pytest

from celery_agents.errors import AgentFailedError, AgentsError, ProviderUnavailableError
from deploy.local import first
from deploy.local.stack import Stack

STACK = Stack(Path("state"), {"REDIS_URL": "redis://127.0.0.1:1/0"}, None)


class Ends:
    """A client whose runs end at once."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def ask(self, agent: str, text: str) -> Self:
        assert (agent, text) == ("topic", "hello")
        return self

    def get(self, **_: Any) -> Any:
        if isinstance(self.answer, AgentsError):
            raise self.answer
        return self.answer


def asked(monkeypatch: pytest.MonkeyPatch, answer: Any) -> int:
    monkeypatch.setattr(first, "Client", lambda _: Ends(answer))
    return first.ask(STACK, ["hello.py", "topic", "hello"])


@pytest.mark.parametrize(
    ("answer", "told"),
    [("refund", "refund\n"), ("größer", "größer\n"), ({"a": [1, None]}, None), (2.5, "2.5\n")],
)
def test_an_answer_is_all_that_is_printed(
    answer: Any,
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert asked(monkeypatch, answer) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == told or (told is None and '"a"' in shown.out)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ProviderUnavailableError("the desk is closed"), "unavailable: the desk is closed\n"),
        (
            AgentFailedError("topic raised KeyError: 'a'", {"where": "hello.py:7 in topic"}),
            "agent_failed: topic raised KeyError: 'a' (hello.py:7 in topic)\n",
        ),
        (AgentFailedError("no answer", {"size": 3}), "agent_failed: no answer\n"),
    ],
)
def test_an_error_says_where_to_look(
    error: AgentsError,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert asked(monkeypatch, error) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert told in shown.err
    assert str(STACK.log("worker")) in shown.err
