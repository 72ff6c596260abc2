from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from agents.base import Answer, Turn
from agents.governance.lessons import Own
from agents.memory.summaries import TalkSummary
from app.admission.guard import Asked
from app.admission.guards.window import WindowGuard
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Usage
from celery_agents.contracts.window import WindowPolicy

SAID = tuple(
    ChatMessage(role=role, content=f"{role} {n} " + "word " * 30)
    for n in range(20)
    for role in ("user", "assistant")
)


class Step:
    """A step that keeps what a guard does, and whose helper sums up."""

    def __init__(self, summary: TalkSummary | None = None) -> None:
        self.summary = summary
        self.spent = Usage(calls=1)
        self.left_out = 0
        self.noted: list[Any] = []
        self.made: list[str] = []
        self.asked: list[Any] = []
        self.helpers = lambda: self

    def told(self, left_out: int, summary: TalkSummary | None) -> None:
        self.left_out, self.summary = left_out, summary

    async def aside(self, name: str, perform: Any, fingerprint: str) -> Answer:
        self.made.append(name)
        answer: Answer = await perform()
        return answer

    async def answer(self, agent: str, turn: Turn) -> str:
        self.asked.append((agent, turn))
        return f"Summary {len(self.asked)}."

    async def note(self, kind: str, data: Any) -> None:
        self.noted.append((kind, *data))


def told(step: Step, policy: WindowPolicy | None, backend: Any = None, **turn: Any) -> Any:
    """The turn that comes to an agent with this window, and the reply."""
    agent = SimpleNamespace(name="a", window=policy, backend=backend)
    turns: list[Turn] = []

    async def go_on(asked: Asked) -> Answer:
        turns.append(asked.turn)
        return Answer(value=1, usage=Usage(calls=2))

    asked = Asked(cast("Any", agent), Turn(**{"input": "?"} | turn), cast("Any", step))
    reply = asyncio.run(cast("Any", WindowGuard()(asked, go_on)))
    return turns[0], reply


def test_without_a_window_nothing_is_done() -> None:
    step = Step()
    assert told(step, None, messages=SAID)[0].messages == SAID
    assert told(step, WindowPolicy(budget_tokens=100_000), messages=SAID)[0].messages == SAID
    assert (step.made, step.noted, step.left_out) == ([], [], 0)


def test_the_newest_are_told_and_that_some_are_not() -> None:
    step = Step()
    turn, _ = told(step, WindowPolicy(budget_tokens=300), messages=SAID, instructions="Be kind.")
    assert turn.messages == SAID[2 * step.left_out :]
    assert turn.instructions.startswith("Be kind.\n\nEarlier parts")
    [(kind, data)] = step.noted
    assert (kind, data["left_out"]) == ("window", str(step.left_out))


def test_what_was_learned_is_kept_for_later_attempts() -> None:
    step = Step()
    backend = SimpleNamespace(lessons=Own())
    told(step, WindowPolicy(budget_tokens=300), backend, messages=SAID)
    assert step.made == ["window"]


def test_the_question_is_told_whole_where_it_is_the_last_message() -> None:
    question = ChatMessage(role="user", content="long " * 5_000)
    step = Step()
    turn, _ = told(step, WindowPolicy(budget_tokens=300), messages=(*SAID, question), input=None)
    assert turn.messages[-1] == question
    assert step.left_out > 0


def test_a_summary_is_written_once_and_paid() -> None:
    step = Step()
    policy = WindowPolicy(budget_tokens=600, strategy="summary", summary="brief")
    turn, reply = told(step, policy, messages=SAID)
    agent, first = step.asked[0]
    assert agent == "brief"
    assert "conversation" in first.input
    assert [t.input.get("summary") for _, t in step.asked[1:]] == [
        f"Summary {n}." for n in range(1, len(step.asked))
    ]
    assert reply.usage.calls == 3
    assert turn.instructions is None
    assert step.summary == TalkSummary(f"Summary {len(step.asked)}.", 2 * step.left_out)
    again = Step(step.summary)
    assert told(again, policy, messages=SAID)[0] == turn
    assert (again.asked, again.summary) == ([], step.summary)
