"""Each way into an agent and out of it, and what its guards make of a text on that way."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.base import Answer, StepContext, StepMemory
from agents.guarding.screening import TextGuard
from agents.guarding.words import Words
from agents.plan import Expand
from app.admission.guard import Asked, GuardedStep
from app.admission.guards.screened import ScreenedMemory, ScreenedStep
from app.journal.schema.rows import NewMemory
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.memory import MemoryPolicy, MemoryRecord
from celery_agents.errors import AgentFailedError
from tests.unit.app.admission.guards.test_screened import turns, wish
from tests.unit.app.admission.guards.test_screening import FIND, MASK, Step, turned

#: The asker's own, and somebody else's.
MAIL, EVE = "anna@example.org", "eve@example.org"
BOTH = f"{MAIL} and {EVE}"


class Remembering(Step):
    """A step with a memory, that has others to ask."""

    def __init__(self, kept: str = "", said: Any = None) -> None:
        super().__init__()
        self.learned: dict[str, NewMemory] = {}
        self._kept, self._said = kept, said
        self.questions: list[str] = []

    def memory(self, name: str) -> Remembering:
        return self

    def remember(self, text: str, **_: Any) -> str:
        policy = MemoryPolicy(space="s")
        self.learned["m"] = NewMemory("m", "", "s", text, 1, policy)
        return "m"

    async def recall(self, question: str, **_: Any) -> list[MemoryRecord]:
        self.questions.append(question)
        return [MemoryRecord(id="m", text=self._kept, tokens=1, at=0.0)]

    async def ask(self, agent: str, input: Any = None, **_: Any) -> Any:  # noqa: A002
        return self._said


Way = Callable[[Asked, str], Awaitable[Any]]
INTO: dict[str, Callable[[Asked], Awaitable[Any] | Any]] = {
    "input": lambda asked: asked.turn.input,
    "names of fields and of files": lambda asked: asked.turn.input,
    "instructions": lambda asked: asked.turn.instructions,
    "messages": lambda asked: asked.turn.messages,
    "arguments of earlier calls": lambda asked: asked.turn.messages,
    # Of a tool, of an MCP server, of code that a model has written, of agents among its tools, of
    # a memory's recall: all are results of tools.
    "a tool's result": lambda asked: asked.step.seen({"found": [BOTH]}),  # type: ignore[attr-defined]
    "an error of a tool": lambda asked: asked.step.seen(f"failed: {BOTH}"),  # type: ignore[attr-defined]
}
TURN: dict[str, Any] = {
    "input": {"text": BOTH, MAIL: 1, "file": {"name": f"{EVE}.pdf"}},
    "instructions": f"Ask {BOTH}.",
    "messages": (ChatMessage(role="user", content=BOTH), *turns(BOTH)),
}


@pytest.mark.parametrize("way", INTO)
def test_nothing_goes_into_an_agent_but_marks(way: str) -> None:
    seen: list[str] = []

    async def agent(asked: Asked) -> Answer:
        told = INTO[way](asked)
        seen.append(repr(await told if isinstance(told, Awaitable) else told))
        return Answer(value="done")

    turned(Remembering(), agent, MASK, **TURN)
    (told,) = seen
    assert "⟨EMAIL_" in told
    assert "example.org" not in told


async def _failing(asked: Asked, text: str) -> Any:
    raise AgentFailedError(f"It said {text}", {"told": [text]})


async def _said(asked: Asked, text: str) -> Any:
    for at in range(0, len(text), 7):
        asked.step.say(text[at : at + 7])
    return Answer(value="done")


def _beside(do: Callable[[Any, str], Any]) -> Way:
    async def agent(asked: Asked, text: str) -> Any:
        done = do(asked.step, text)
        if isinstance(done, Awaitable):
            await done
        return Answer(value="done")

    return agent


def _plan(step: Step, reply: Any) -> Any:
    assert isinstance(reply, Expand)
    return reply.members[0].input


#: How an agent lets something out; where it comes out; whether that goes to the asker himself.
OUT: dict[str, tuple[Way, Callable[[Any, Any], Any], bool]] = {
    "text that is streamed": (_said, lambda step, _: step.said, True),
    "what is said beside calls, and these": (
        _beside(lambda step, text: step.heard(turns(text))),
        lambda step, _: step.turns,
        True,
    ),
    "events of calls": (
        _beside(lambda step, text: step.tell("tool", name="t", arguments={"a": text})),
        lambda step, _: step.told,
        True,
    ),
    "progress": (
        _beside(lambda step, text: step.progress(doing=text)),
        lambda step, _: step.told,
        False,
    ),
    "entries of streams": (
        _beside(lambda step, text: step.emit("s", "k", {"a": text})),
        lambda step, _: step.emitted,
        False,
    ),
    "memories": (
        _beside(lambda step, text: step.memory("m").remember(text)),
        lambda step, _: step.learned,
        False,
    ),
    # Webhooks have the state of a run and its error.
    "errors": (_failing, lambda _, reply: reply, False),
}


async def _answer(asked: Asked, text: str) -> Any:
    return Answer(value={"said": text, EVE: 1})


async def _wish(asked: Asked, text: str) -> Any:
    return wish(text)


OUT |= {
    "answers": (_answer, lambda _, reply: reply.value, True),
    "questions to people": (_wish, _plan, True),
}


@pytest.mark.parametrize("way", OUT)
def test_what_comes_out_is_put_back_for_the_asker_alone(way: str) -> None:
    let_out, where, to_the_asker = OUT[way]
    step = Remembering()

    async def agent(asked: Asked) -> Any:
        return await let_out(asked, f"{asked.turn.input}, not {EVE}")

    try:
        reply = turned(step, agent, MASK, input=MAIL)
    except AgentFailedError as error:
        reply = (error.message, error.details)
    told = where(step, reply)
    found = "".join(told) if way == "text that is streamed" else repr(told)
    assert "eve@" not in found
    assert "⟨EMAIL⟩" in found
    assert (MAIL in found) == to_the_asker
    assert to_the_asker is not ("⟨EMAIL_1⟩" in found) or way == "memories"


def test_a_memory_keeps_no_numbers_and_none_of_what_was_masked() -> None:
    step = Remembering()

    async def agent(asked: Asked) -> Answer:
        meant = asked.step.meant(f"She is {asked.turn.input}, and ⟨PHONE_3⟩.")  # type: ignore[attr-defined]
        asked.step.memory("m").remember(meant)  # as a model's tool does
        return Answer(value="done")

    # Also where a guard looks at what goes in alone.
    for rule in (MASK, TextGuard("in", "mask", "off", FIND)):
        turned(step, agent, rule, input=MAIL)
        assert step.learned["m"].text == "She is ⟨EMAIL⟩, and ⟨PHONE⟩."
        assert step.learned["m"].tokens > 1


def test_a_memory_that_a_guard_blocks_is_not_kept() -> None:
    step = Remembering()

    async def agent(asked: Asked) -> Answer:
        asked.step.memory("m").remember("All about Project  Blue.")
        return Answer(value="done")

    reply = turned(step, agent, TextGuard("secrets", "off", "block", Words(("project blue",))))
    assert reply.error.kind == "blocked"


def test_memories_are_looked_at_beside_the_loop_whoever_finds() -> None:
    threads: list[threading.Thread] = []

    def find(text: str) -> list[Any]:
        threads.append(threading.current_thread())
        return []

    step = Remembering()

    async def agent(asked: Asked) -> Answer:
        asked.step.memory("m").remember("short")
        assert threads == []  # it is on the loop
        return Answer(value="done")

    async def saying(asked: Asked) -> Answer:
        asked.step.say("It was said.")
        return await agent(asked)

    turned(step, saying, TextGuard("mine", "off", "mask", find, foreign=True))
    assert step.said == ["It was said."]
    assert len(threads) > 2
    assert threading.main_thread() not in threads


#: Where a mark of another run may stand that was kept, or that somebody has written.
FOREIGN: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "a tool's result": lambda step: step.seen("Write to ⟨EMAIL_1⟩."),
    "a memory": lambda step: step.memory("m").recall("?"),
    "an agent's answer": lambda step: step.ask("b", "?"),
}


@pytest.mark.parametrize("way", FOREIGN)
@pytest.mark.parametrize("late", [False, True])
def test_a_mark_of_another_run_is_nobody_here(way: str, *, late: bool) -> None:
    step = Remembering("Write to ⟨EMAIL_1⟩.", "Write to ⟨EMAIL_2⟩.")

    async def agent(asked: Asked) -> Answer:
        heard = await FOREIGN[way](asked.step)
        if late:  # numbers are given to others now
            await asked.step.seen(f"{EVE} bob@example.org")  # type: ignore[attr-defined]
        return Answer(value=[str(heard), asked.step.meant(str(heard))])  # type: ignore[attr-defined]

    value = str(turned(step, agent, MASK, input=MAIL).value)
    assert "Write to ⟨EMAIL⟩." in value
    assert "example.org" not in value


def test_an_agent_that_is_asked_may_say_the_marks_that_it_was_told() -> None:
    async def agent(asked: Asked) -> Answer:
        return Answer(value=await asked.step.ask("b", asked.turn.input))

    assert turned(Remembering(said=["⟨EMAIL_1⟩"]), agent, MASK, input=MAIL).value == [MAIL]


#: Of a step as code sees it, all that no text of an agent goes by; with what makes it so.
BESIDE = {
    "call": "its journaled row has what the agent sees: marks",
    "answered": "answers of agents among a model's tools, which it sees as results",
    "did": "names that the code itself gives, kept as names",
    "ways": "names of tools and agents, and how they did",
    "graphs": "the threads of a graph: rows of its own step",
    "helpers": "judges, and others with guards of their own",
    "note": "kinds and counts",
    "learned": "looked at as it ends",
    "emitted": "what emit has let pass",
    "summary": "of a session, before the guards",
    **dict.fromkeys(
        (
            *("allowance", "asked_to_stop", "attempt", "calls", "charge", "distrust", "enter"),
            *("limit", "made", "priority", "run_id", "session", "spent", "spent_in_all"),
            *("step_id", "streamed", "tenant", "told", "tries", "untrusted"),
        ),
        "no text",
    ),
}


def test_no_way_round_the_guards_is_added_unseen() -> None:
    """Whoever adds a way into a step, or out of it, says here how guards look at it."""
    ways = {name for of in (GuardedStep, StepContext) for name in dir(of) if name[0] != "_"}
    assert ways == BESIDE.keys() | (vars(ScreenedStep).keys() & ways)
    assert not BESIDE.keys() & vars(ScreenedStep).keys()
    # Of a memory, a tool gives what it looks up to its model, as a result.
    ways = {name for name in dir(StepMemory) if name[0] != "_"}
    assert ways == {"remember", "forget", "look"} | (vars(ScreenedMemory).keys() & ways)
