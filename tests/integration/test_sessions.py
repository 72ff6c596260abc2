"""Sessions with real workers: what runs remember of each other, whatever happens to them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack


def texts(stack: Stack, session: str, **more: Any) -> list[list[str]]:
    """The messages of each exchange, which stand in their places."""
    found = list(stack.client.sessions.read(session, timeout=SOON_S, **more))
    assert [e.place for e in found] == [*range(len(found))]
    return [[m.text for m in e.messages] for e in found]


@pytest.mark.parametrize("agent", ["gpt", "claude", "gemini"])
def test_questions_of_a_session_remember_each_other(
    stack: Stack, model: ModelServer, agent: str
) -> None:
    model.script(Does(text="Hello Ann."), Does(text="In Rome."), Does(text="Ann, of Rome."))
    session = f"remembers-{agent}"
    for question in ["I am Ann.", "I live where the Pope does.", "Who am I?"]:
        stack.client.ask(agent, question, session=session).get(timeout=SOON_S)
    told = str(model.requests[-1].body)
    places = [told.index(t) for t in ["I am Ann.", "Hello Ann.", "the Pope", "In Rome.", "Who am"]]
    assert places == sorted(places)
    assert "Ann" not in str(model.requests[0].body).replace("I am Ann.", "")
    assert texts(stack, session) == [
        ["I am Ann.", "Hello Ann."],
        ["I live where the Pope does.", "In Rome."],
        ["Who am I?", "Ann, of Rome."],
    ]
