from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.base import Answer, Turn
from agents.guarding.pii import PersonalData
from agents.guarding.screening import TextGuard
from agents.plan import Expand
from agents.tools.screened import Screened
from app.admission.guard import Asked, Next, Reply
from app.admission.guards.screening import ScreenGuard
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Outcome, State, Usage

FIND = PersonalData(("email",))
MASK = TextGuard("privacy", "mask", "mask", FIND)


class Step:
    """A step that keeps what it is told."""

    streamed = True

    def __init__(self, *, allows: bool = True) -> None:
        self.said: list[str] = []
        self.told: list[Any] = []
        self.noted: list[Any] = []
        self.judged: list[Any] = []
        self.turns: Any = ()
        self.emitted: list[Any] = []
        self.learned: dict[str, Any] = {}
        self.spent = Usage()
        self.helpers = lambda: self
        self._allows = allows

    async def allows(self, agent: str, side: str, told: Any) -> bool:
        self.judged.append((agent, side, told))
        self.spent = Usage(calls=1)
        return self._allows

    def say(self, text: str) -> None:
        self.said.append(text)

    def tell(self, kind: str, **data: Any) -> None:
        self.told.append((kind, data))

    def heard(self, turns: Any) -> None:
        self.turns = turns

    async def progress(self, **fields: Any) -> None:
        self.told.append(("progress", fields))

    def emit(self, stream: str, kind: str, data: Any, *, key: str | None = None) -> None:
        self.emitted.append((stream, kind, data, key))

    async def note(self, kind: str, data: Any) -> None:
        self.noted.append((kind, data))


def turned(step: Step, agent: Any, *rules: TextGuard, **turn: Any) -> Any:
    """The reply of an agent within these guards."""
    registered = SimpleNamespace(name="a", kind="any")
    guard = ScreenGuard(cast("Any", SimpleNamespace(guards_of=lambda _: rules)))
    asked = Asked(cast("Any", registered), Turn(**{"input": None} | turn), cast("Any", step))

    async def go_on(asked: Asked) -> Reply:
        return cast("Reply", await agent(asked))

    return asyncio.run(cast("Any", guard(asked, cast("Next", go_on))))


async def echo(asked: Asked) -> Answer:
    """Says what it is asked, piece by piece."""
    text = f"You wrote {asked.turn.input}; eve@example.org did not."
    for at in range(0, len(text), 5):
        asked.step.say(text[at : at + 5])
    await asked.step.progress(text=text, percent=50)
    asked.step.heard((ChatMessage(role="assistant", content=str(asked.turn.input)),))
    return Answer(value=text, usage=Usage(calls=2))


def test_the_agent_sees_marks_and_the_asker_his_own_words() -> None:
    step = Step()
    reply = turned(step, echo, MASK, input="anna@example.org")
    assert reply.value == "You wrote anna@example.org; ⟨EMAIL⟩ did not." == "".join(step.said)
    assert step.turns[0].content == "anna@example.org"
    assert step.told == [("progress", {"percent": 50})]
    assert "anna" not in str(step.noted)
    assert [row["side"] for _, data in step.noted for row in data] == ["input", "output"]


def test_an_agent_that_is_made_anew_of_another_kind_has_the_guards_of_that() -> None:
    """Over the API, under the same name; its process has asked it before."""
    registry = SimpleNamespace(guards_of=lambda agent: (MASK,) if agent.kind == "openai" else ())
    guard = ScreenGuard(cast("Any", registry))
    http, model = (cast("Any", SimpleNamespace(name="a", kind=k)) for k in ("http", "openai"))
    assert [guard.concerns(agent) for agent in (http, model, http)] == [False, True, False]
    seen: list[Any] = []

    async def go_on(asked: Asked) -> Reply:
        seen.append(asked.turn.input)
        return Answer(value=None)

    asked = Asked(model, Turn(input="anna@example.org"), cast("Any", Step()))
    asyncio.run(cast("Any", guard(asked, go_on)))
    assert "anna" not in str(seen)


def test_without_guards_all_passes_as_it_is() -> None:
    step = Step()

    async def same(asked: Asked) -> Answer:
        assert cast("Any", asked.step) is step
        return Answer(value=1)

    assert turned(step, same).value == 1


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_block_is_an_end_that_says_what_was_found_and_not_where(side: str) -> None:
    step, asked = Step(), []

    async def agent(turn: Asked) -> Answer:
        asked.append(turn)
        return await echo(turn)

    rule = TextGuard("no mail", **{side: "block"}, find=FIND)  # type: ignore[arg-type]
    reply = turned(step, agent, rule, input="anna@example.org" if side == "input" else "x" * 90)
    assert isinstance(reply, Outcome)
    assert (reply.state, reply.error and reply.error.kind) == (State.FAILED, "blocked")
    assert "no mail" in str(reply.error)
    assert "@" not in str(reply.error)
    assert bool(asked) == (side == "output")
    assert reply.usage.calls == (2 if asked else 0)
    assert "example" not in "".join(step.said)
    assert step.noted[0][1][0]["found"] == "email"


@pytest.mark.parametrize("action", ["flag", "block"])
@pytest.mark.parametrize("allows", [True, False])
def test_a_judge_sees_what_the_agent_sees_and_nothing_is_told_before(
    action: Any, *, allows: bool
) -> None:
    step = Step(allows=allows)
    judge = TextGuard("rules", "off", action, judge="moderator")
    reply = turned(step, echo, MASK, judge, input="anna@example.org")
    told = {"answer": "You wrote ⟨EMAIL_1⟩; ⟨EMAIL⟩ did not.", "beside it": ["⟨EMAIL_1⟩"]}
    assert step.judged == [("moderator", "output", told)]
    assert reply.usage.calls == 3
    refused = not allows and action == "block"
    assert bool(step.said) != refused
    assert (getattr(reply, "state", None) == State.FAILED) == refused
    if not allows:
        assert step.noted[-1][1][-1]["found"] == "refused"


def test_the_judge_of_an_input_is_asked_first() -> None:
    step = Step(allows=False)
    reply = turned(step, echo, TextGuard("rules", "block", "off", judge="m"), input="hello")
    assert step.judged == [("m", "input", {"input": "hello"})]
    assert "its judge refused it" in str(reply.error)
    assert not step.said
    assert reply.usage.calls == 1
    passed = turned(Step(), echo, TextGuard("rules", "block", "off", judge="m"), input="hello")
    assert passed.usage.calls == 3


def test_what_was_held_of_an_attempt_that_begins_again_is_dropped() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        asked.step.say("first ")
        asked.step.tell("restart", attempt=1)
        asked.step.say("second")
        asked.step.tell("tool", name="mail", arguments={"to": "eve@example.org"})
        asked.step.say(" third")
        return Answer(value="second third")

    turned(step, agent, MASK)
    assert step.said == ["second third"]
    assert step.told[1] == ("tool", {"name": "mail", "arguments": {"to": "⟨EMAIL⟩"}})


def test_what_waits_for_members_or_failed_is_handed_on() -> None:
    plan, failed = Expand(members=()), Outcome(state=State.FAILED)
    for reply in (plan, failed):

        async def agent(asked: Asked, reply: Any = reply) -> Any:
            asked.step.say("On the way")
            return reply

        step, judged = Step(), Step()
        assert turned(step, agent, MASK) is reply
        assert step.said == ["On the way"]
        assert turned(judged, agent, TextGuard("r", "off", "block", judge="m")) is reply
        assert not judged.said


def test_a_model_with_tools_finds_a_step_that_knows_its_marks() -> None:
    async def agent(asked: Asked) -> Answer:
        assert isinstance(asked.step, Screened)
        meant = asked.step.meant({"to": asked.turn.input})
        seen = await asked.step.seen("eve@example.org")
        return Answer(value=[meant == {"to": "anna@example.org"}, seen])

    assert turned(Step(), agent, MASK, input="anna@example.org").value == [True, "eve@example.org"]


def test_a_function_of_somebodys_is_asked_beside_the_loop_and_sees_the_whole() -> None:
    seen: list[str] = []

    def find(text: str) -> Any:
        seen.append(text)
        return FIND(text)

    step = Step()
    rule = TextGuard("theirs", "off", "mask", find, foreign=True)
    reply = turned(step, echo, rule, input="anna@example.org")
    assert reply.value == "You wrote ⟨EMAIL⟩; ⟨EMAIL⟩ did not." == "".join(step.said)
    assert len(step.said) == 1
    assert seen[-1] == "You wrote anna@example.org; eve@example.org did not."
