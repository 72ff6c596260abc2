"""All that a run lets out beside its answer is looked at by the guards of its agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.base import Answer
from agents.guarding.marks import WITHHELD
from agents.guarding.screening import TextGuard
from agents.guarding.words import Words
from agents.plan import Expand, Member
from app.admission.guard import Asked
from celery_agents import names
from celery_agents.contracts.conversation import ChatMessage, ToolUse
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AgentFailedError, BadAnswerError, BlockedError
from tests.unit.app.admission.guards.test_screening import FIND, MASK, Step, turned

MAIL, EVE = "anna@example.org", "eve@example.org"
SECRET = "project blue"
BLOCK = TextGuard("secrets", "off", "block", Words((SECRET,)))
FLAG = TextGuard("seen", "off", "flag", FIND)
JUDGE = TextGuard("rules", "off", "block", judge="moderator")


def turns(text: str) -> tuple[ChatMessage, ...]:
    """What a model says beside a call, with what came of that."""
    use = ToolUse(id="1", name="mail", arguments={"to": text})
    return (
        ChatMessage(role="assistant", content=f"I write to {text}.", tool_calls=(use,)),
        ChatMessage(role="tool", call_id="1", content=f"Sent to {text}"),
    )


def wish(text: str) -> Expand:
    about: Any = {"tool": "mail", "arguments": {"to": "boss"}, "why": f"Because of {text}."}
    other = Member(key="b", task=names.ASK, input=text, options={})
    asked = Member(key="@a", task=names.APPROVAL, input=about, options={}, waits=True)
    return Expand(members=(asked, other))


def test_words_beside_calls_are_masked_for_the_session_and_marks_are_put_back() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        asked.step.heard(turns(f"{asked.turn.input} and {EVE}"))
        return Answer(value="done")

    turned(step, agent, MASK, input=MAIL)
    said, result = step.turns
    assert said.content == f"I write to {MAIL} and ⟨EMAIL⟩."
    assert said.tool_calls[0].arguments == {"to": f"{MAIL} and ⟨EMAIL⟩"}
    assert result.content == f"Sent to {MAIL} and ⟨EMAIL⟩"
    outputs = [row for _, data in step.noted for row in data if row["side"] == "output"]
    assert {row["count"] for row in outputs} == {"3"}


def test_blocked_words_beside_calls_end_the_step_and_are_kept_nowhere() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        for piece in ("I write of pro", "ject ", "blue.", "And so on. " * 9):
            asked.step.say(piece)
        asked.step.heard(turns(SECRET))
        return Answer(value="done")

    reply = turned(step, agent, BLOCK)
    assert (reply.state, reply.error.kind) == (State.FAILED, "blocked")
    assert step.turns == ()
    assert "".join(step.said) in {"", "I write of "}


def test_what_was_done_with_blocked_words_is_left_out_and_blocks_nothing() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        asked.step.heard(
            (turns(SECRET)[0].model_copy(update={"content": "I write."}), turns(SECRET)[1])
        )
        asked.step.tell("tool", call_id="1", name="mail", arguments={"to": SECRET, "n": 1})
        return Answer(value="done")

    assert turned(step, agent, BLOCK).value == "done"
    said, result = step.turns
    assert (said.content, said.tool_calls[0].arguments) == ("I write.", {"to": WITHHELD})
    assert result.content == WITHHELD
    arguments = {"to": WITHHELD, "n": 1}
    assert step.told == [("tool", {"call_id": "1", "name": "mail", "arguments": arguments})]


def test_what_the_asker_gave_himself_is_shown_in_calls() -> None:
    """A tool is called with what marks stand for; others' data in its arguments are masked."""
    step = Step()

    async def agent(asked: Asked) -> Answer:
        arguments = asked.step.meant({"to": asked.turn.input, "cc": f"{MAIL}, {EVE}"})  # type: ignore[attr-defined]
        asked.step.tell("tool", name="mail", arguments=arguments)
        return Answer(value="done")

    turned(step, agent, MASK, input=MAIL)
    arguments = {"to": MAIL, "cc": f"{MAIL}, ⟨EMAIL⟩"}
    assert step.told == [("tool", {"name": "mail", "arguments": arguments})]


@pytest.mark.parametrize("kind", ["progress", "state", "restart", "tool", "tool_result"])
@pytest.mark.parametrize("name", ["name", "call_id", "note"])
def test_no_event_of_an_agents_code_is_a_way_round(kind: Any, name: str) -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        data: dict[str, Any] = {name: f"{EVE} of {SECRET}", EVE: 5}
        asked.step.tell(kind, **data)
        return Answer(value="done")

    shown = f"⟨EMAIL⟩ of {SECRET}"
    for rule, told in ((MASK, {name: shown, "⟨EMAIL⟩": 5}), (BLOCK, {name: WITHHELD, EVE: 5})):
        turned(step, agent, rule)
        assert step.told.pop() == (kind, told)


def test_a_text_that_goes_on_behind_an_event_is_one_text() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        asked.step.say("All about project ")
        asked.step.tell("tool", name="search", arguments={})
        asked.step.say("blue, and more. " * 9)
        return Answer(value="done")

    turned(step, agent, TextGuard("secrets", "off", "mask", Words((SECRET,))))
    assert "".join(step.said).startswith("All about ⟨WORD⟩, and more. ")
    assert [kind for kind, _ in step.told] == ["tool"]


def test_what_a_model_says_beside_its_calls_is_told_before_them() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        asked.step.say(f"I write to {EVE}, and so on.\n")
        asked.step.spoken()  # type: ignore[attr-defined]
        asked.step.tell("tool", name="mail", arguments={})
        assert "".join(step.said).startswith("I write to ⟨EMAIL⟩, and so ")
        asked.step.say("Done")
        return Answer(value="Done")

    turned(step, agent, MASK)
    assert "".join(step.said) == "I write to ⟨EMAIL⟩, and so on.\nDone"


@pytest.mark.parametrize("rule", [MASK, TextGuard("secrets", "off", "mask", Words((SECRET,)))])
def test_no_call_lets_through_what_stands_on_both_sides_of_it(rule: TextGuard) -> None:
    text = f"I write to {EVE} about {SECRET}, and so on."
    for place in range(len(text)):
        step = Step()

        async def agent(asked: Asked, at: int = place) -> Answer:
            for part in (text[:at], text[at:]):
                asked.step.say(part)
                asked.step.spoken()  # type: ignore[attr-defined]
                asked.step.tell("tool", name="mail", arguments={})
            return Answer(value="Done")

        turned(step, agent, rule)
        told = "".join(step.said)
        assert (EVE if rule is MASK else SECRET) not in told
        assert told.startswith("I write to ")
        assert told.endswith(", and so on.")


def test_texts_that_a_function_of_somebodys_looks_at_are_told_at_the_end() -> None:
    step, seen = Step(), []

    def find(text: str) -> Any:
        seen.append(text)
        return FIND(text)

    async def agent(asked: Asked) -> Answer:
        asked.step.say("First.")
        asked.step.spoken()  # type: ignore[attr-defined]
        asked.step.say("Second")
        assert not step.said
        return Answer(value="Second")

    turned(step, agent, TextGuard("theirs", "off", "mask", find, foreign=True))
    assert "".join(step.said) == "First.Second"
    assert {"First.", "Second"} <= {*seen}


def test_progress_and_entries_are_masked_and_their_marks_stay() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        told: Any = {"of": asked.turn.input, EVE: [EVE, 4], "bob@example.org": None}
        await asked.step.progress(note=told, percent=50, text="cut")
        asked.step.emit("complaints", "decided", told, key="7")
        return Answer(value="done")

    assert turned(step, agent, MASK, input=MAIL).value == "done"
    told = {"of": "⟨EMAIL_1⟩", "⟨EMAIL⟩": ["⟨EMAIL⟩", 4], "⟨EMAIL⟩_2": None}
    assert step.told == [("progress", {"note": told, "percent": 50})]
    assert step.emitted == [("complaints", "decided", told, "7")]


@pytest.mark.parametrize("what", ["progress", "emit"])
def test_blocked_progress_and_entries_are_an_error_and_nothing_is_let_out(what: str) -> None:
    async def let_out(asked: Asked, text: str) -> None:
        if what == "progress":
            await asked.step.progress(note=text, percent=50)
        else:
            asked.step.emit("complaints", "decided", {"why": [text]})

    async def careless(asked: Asked) -> Answer:
        await let_out(asked, SECRET)
        return Answer(value="done")

    async def careful(asked: Asked) -> Answer:
        with pytest.raises(BlockedError, match="The guard secrets does not let"):
            await let_out(asked, SECRET)
        await let_out(asked, "fine")
        return Answer(value="done")

    step = Step()
    with pytest.raises(BlockedError, match="of a pass") as raised:
        turned(step, careless, BLOCK)
    assert raised.value.details == {"guard": "secrets", "side": "output"}
    assert step.told == step.emitted == []
    assert step.noted[0][1][0]["found"] == "word"
    assert turned(step, careful, BLOCK).value == "done"
    assert len(step.told or step.emitted) == 1


@pytest.mark.parametrize(
    "address", [("c/eve@example.org", "k", "1"), ("c", EVE, None), ("c", "k", EVE)]
)
def test_an_entry_is_not_moved_by_a_mask(address: tuple[str, str, str | None]) -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        stream, kind, key = address
        asked.step.emit(stream, kind, {}, key=key)
        return Answer(value="done")

    with pytest.raises(BlockedError, match="Give names without"):
        turned(step, agent, MASK)
    assert not step.emitted
    turned(step, agent, FLAG)
    assert len(step.emitted) == 1


def test_a_person_is_asked_in_words_that_guards_let_pass() -> None:
    async def agent(asked: Asked) -> Any:
        return wish(f"{asked.turn.input}, {EVE}")

    plan = turned(Step(), agent, MASK, input=MAIL)
    asked, other = plan.members
    assert asked.input["why"] == f"Because of {MAIL}, ⟨EMAIL⟩."
    assert asked.input["arguments"] == {"to": "boss"}
    assert other.input == f"⟨EMAIL_1⟩, {EVE}"  # another agent's, which has guards of its own

    async def blocked(_: Asked) -> Any:
        return wish(SECRET)

    reply = turned(Step(), blocked, BLOCK)
    assert isinstance(reply, Outcome)
    assert reply.error is not None
    assert reply.error.kind == "blocked"


@pytest.mark.parametrize("kind", [BadAnswerError, AgentFailedError])
def test_an_error_repeats_nothing_that_may_not_be_told(kind: Any) -> None:
    details = {"said": [EVE], "usage": {"calls": 1}}

    async def raises(_: Asked) -> Answer:
        raise kind(f"It said {EVE} of {SECRET}", details)

    async def fails(_: Asked) -> Any:
        error = ErrorInfo.of(kind(f"It said {EVE}", details))
        return Outcome(state=State.FAILED, error=error)

    with pytest.raises(kind) as raised:
        turned(Step(), raises, MASK)
    assert raised.value.message == f"It said ⟨EMAIL⟩ of {SECRET}"
    assert raised.value.details == {"said": ["⟨EMAIL⟩"], "usage": {"calls": 1}}
    assert EVE not in repr(raised.value.args)
    with pytest.raises(kind) as raised:
        turned(Step(), raises, BLOCK)
    assert SECRET not in str(raised.value)
    assert "secrets" in raised.value.message
    reply = turned(Step(), fails, MASK)
    assert (reply.error.message, reply.error.kind) == ("It said ⟨EMAIL⟩", kind.kind)
    with pytest.raises(kind) as raised:
        turned(Step(), raises, FLAG)
    assert EVE in raised.value.message


def test_a_judge_is_asked_about_all_that_is_let_out() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        await asked.step.progress(note="a note", percent=5)
        asked.step.tell("tool", name="mail", arguments={"to": "boss"})
        asked.step.emit("s", "k", {"a": "an entry"})
        asked.step.heard(turns("boss"))
        return Answer(value="done")

    turned(step, agent, JUDGE)
    beside = ["I write to boss.", {"a": "an entry"}]
    assert step.judged == [("moderator", "output", {"answer": "done", "beside it": beside})]
    assert step.told == [
        ("progress", {"percent": 5}),  # nobody has judged it
        ("tool", {"name": "mail", "arguments": {WITHHELD: WITHHELD}}),
    ]

    async def wishes(_: Asked) -> Any:
        return wish("reasons")

    step = Step(allows=False)
    reply = turned(step, wishes, JUDGE)
    assert reply.error.kind == "blocked"
    assert step.judged[0][2] == [wish("reasons").members[0].input]

    async def malformed(_: Asked) -> Answer:
        raise BadAnswerError("It said: rubbish")

    with pytest.raises(BadAnswerError, match="could not be read") as raised:
        turned(Step(), malformed, JUDGE)
    assert "rubbish" not in str(raised.value)


def test_others_steps_are_not_touched() -> None:
    step = Step()

    async def agent(asked: Asked) -> Answer:
        await asyncio.gather(asked.step.progress(note=EVE), asked.step.progress(text="x"))
        asked.step.emit("s", EVE, {"a": EVE})
        asked.step.heard(turns(EVE))
        return Answer(value=EVE)

    assert turned(step, agent, FLAG).value == EVE
    assert step.turns == turns(EVE)
    assert step.emitted == [("s", EVE, {"a": EVE}, None)]
    assert {kind for kind, _ in step.told} == {"progress"}
