from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

import tasks
from agents.base import Turn
from app.execution.runtime import Runtime
from app.execution.sessions import Talk
from app.journal.schema.rows import HeldSession, NewStep
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.conversation import ChatMessage, ToolUse
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State
from celery_agents.contracts.session import SessionExchange
from celery_agents.errors import AgentFailedError, BreakerOpenError, InvalidPayloadError
from tests.support.entries import agent_of
from tests.unit.app.execution.task.support import due, receive, row, woken

assert tasks  # imported for what it registers
SOON = 20
DONE = Outcome(state=State.SUCCEEDED, agent="gpt", value="It.")
LOOKS = (
    ChatMessage(role="assistant", tool_calls=(ToolUse(id="0", name="look", arguments={}),)),
    ChatMessage(role="tool", call_id="0", content="found"),
)


def ask(value: Any = "Who?", **options: Any) -> Ask:
    return Ask.model_validate({"agent": "gpt", "session": "s", "input": value, **options})


def talk(request: Ask, *exchanges: SessionExchange, begins: int = 0) -> Talk:
    held = HeldSession("", "s", begins, begins + len(exchanges))
    return Talk(request, held, [*exchanges])


def exchange(place: int, *texts: str) -> SessionExchange:
    said = tuple(
        ChatMessage(role="assistant" if n % 2 else "user", content=t) for n, t in enumerate(texts)
    )
    return SessionExchange(place=place, at=1.0, tokens=1, messages=said)


# ---------------------------------------------------------------- what is told, what is added


def test_earlier_exchanges_come_before_the_calls_own_messages() -> None:
    own = {"role": "user", "content": "c"}
    found = talk(ask(messages=[own]), exchange(4, "a", "b"), begins=4)
    assert [m.text for m in found.messages] == ["a", "b", "c"]


def test_an_end_is_an_exchange() -> None:
    found = talk(ask(), begins=3)
    outcome, added = found.ended(DONE, LOOKS)
    assert outcome == DONE.model_copy(update={"left_out": 3})
    assert added is not None
    assert added.data["agent"] == "gpt"
    assert [m["role"] for m in added.data["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert added.tokens > 4 * 4


def handed(asked: str, active: str | None) -> SessionExchange:
    return exchange(0, "a", "b").model_copy(update={"asked": asked, "active": active})


@pytest.mark.parametrize(
    ("last", "options", "agent"),
    [
        (handed("gpt", "billing"), {}, "billing"),
        (handed("gpt", None), {}, "gpt"),
        (handed("other", "billing"), {}, "gpt"),  # of another agent's conversation
        (handed("gpt", "billing"), {"reset_active": True}, "gpt"),
        (exchange(0, "a", "b"), {}, "gpt"),  # of before there were such
    ],
)
def test_who_is_active_goes_on(last: SessionExchange, options: Any, agent: str) -> None:
    assert talk(ask(**options), last).agent == agent


def test_who_is_active_is_known_though_the_exchange_is_too_long_to_be_told() -> None:
    held = HeldSession("", "s", begins=1, exchanges=1)
    found = Talk(ask(), held, [handed("gpt", "billing")])
    assert (found.agent, found.messages) == ("billing", ())


@pytest.mark.parametrize(
    ("last", "active", "added"),
    [
        (None, "billing", "billing"),
        (None, None, None),
        ("billing", None, "billing"),  # who answered itself stays
        ("billing", "tech", "tech"),
        ("billing", "gpt", None),  # handed back
    ],
)
def test_who_is_active_is_written_with_the_exchange(
    last: str | None, active: str | None, added: str | None
) -> None:
    found = talk(ask(), *([handed("gpt", last)] if last else []))
    _, new = found.ended(DONE.model_copy(update={"active": active}))
    assert new is not None
    assert (new.data["asked"], new.data["active"]) == ("gpt", added)


def test_who_failed_adds_nothing() -> None:
    failed = Outcome(state=State.FAILED, error=ErrorInfo.of(AgentFailedError("no")))
    outcome, added = talk(ask(), begins=2).ended(failed)
    assert (outcome.left_out, added) == (2, None)


def test_what_is_added_is_told_again() -> None:
    _, added = talk(ask({"half": "\ud800"})).ended(DONE.model_copy(update={"value": "\ud800"}))
    assert added is not None
    row = {"place": 0, "at": 1.0, "tokens": added.tokens, **added.data}
    found = talk(ask("And?"), SessionExchange.model_validate(row))
    assert [m.role for m in found.messages] == ["user", "assistant"]
    assert found.messages[1].text == "\N{REPLACEMENT CHARACTER}"


# ---------------------------------------------------------------- an attempt


class Tells:
    """A backend that tells how many messages it got, and hands back what it called."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def answer(self, turn: Turn, _step: Any) -> Answer:
        if self.error is not None:
            raise self.error
        return Answer(value=len(turn.messages), turns=LOOKS)

    async def aclose(self) -> None:
        """Nothing."""


@pytest.fixture
def offer(app: Celery, runtime: Runtime) -> Callable[..., None]:
    """Offers an agent of a backend."""
    app.finalize()

    def offer(name: str, backend: Any, entry: dict[str, Any] | None = None) -> None:
        runtime.agents.registry._add(agent_of(name, lambda: backend, None, entry))

    return offer


def told(runtime: Runtime, name: str = "s") -> list[list[str]]:
    page = runtime.journal.sessions.page("", name, -1)
    return [[m["role"] for m in e["messages"]] for e in page["exchanges"]]


def test_runs_that_follow_each_other(app: Celery, runtime: Runtime, offer: Any) -> None:
    offer("teller", Tells())
    task = app.tasks[names.ASK]
    assert receive(task, "a", "?", agent="teller", session="s") == 0
    assert receive(task, "b", "?", agent="teller", session="s") == 4
    assert receive(task, "c", "?", agent="teller", session="s", window_tokens=0) == 0
    assert receive(task, "d", "?", agent="teller") == 0
    assert told(runtime) == [["user", "assistant", "tool", "assistant"]] * 3
    assert row(runtime, "c").outcome["left_out"] == 2
    assert "left_out" not in row(runtime, "b").outcome
    assert [*row(runtime, "c").outcome][-1] == "value"


def test_a_run_whose_turn_it_is_not_goes_away(app: Celery, runtime: Runtime, offer: Any) -> None:
    offer("teller", Tells())
    holder = NewStep("h", "h", names.ASK, "agents", {"args": [], "kwargs": {}}, max_attempts=1)
    claim: Any = runtime.journal.claim("h", holder).result(SOON)
    runtime.journal.sessions.hold(claim, "s", 10).result(SOON)
    task = app.tasks[names.ASK]
    with pytest.raises(Exception, match="waits for its turn"):
        receive(task, "a", "?", agent="teller", session="s")
    assert runtime.active == {}
    assert (row(runtime, "a").state, row(runtime, "a").attempts) == ("ready", 0)
    after = runtime.journal.finish(claim, Outcome(state=State.FAILED)).result(SOON)
    assert [wake.id for wake in after.wakes] == ["a"]
    assert woken(task, due(runtime, "a")) == 0


def test_a_run_that_is_late_fails_instead_of_waiting(
    app: Celery, runtime: Runtime, offer: Any
) -> None:
    offer("teller", Tells())
    holder = NewStep("h", "h", names.ASK, "agents", {"args": [], "kwargs": {}}, max_attempts=1)
    claim: Any = runtime.journal.claim("h", holder).result(SOON)
    runtime.journal.sessions.hold(claim, "s", 10).result(SOON)
    with pytest.raises(Exception, match="deadline passed"):
        receive(app.tasks[names.ASK], "a", "?", agent="teller", session="s", deadline_s=1e-6)
    assert row(runtime, "a").state == "failed"


@pytest.mark.parametrize("how", ["backup", "compensation"])
def test_what_was_called_is_kept_whatever_becomes_of_the_answer(
    app: Celery, runtime: Runtime, offer: Any, how: str
) -> None:
    offer("teller", Tells())
    more: dict[str, Any] = {}
    if how == "backup":
        closed = Tells(BreakerOpenError("it is open"))
        offer("first", closed, {"kind": "http", "url": "http://127.0.0.1:9/", "backup": "teller"})
        more["agent"] = "first"
    else:
        more = {"agent": "teller", "compensation": Compensation(agent="teller").compact()}
    assert receive(app.tasks[names.ASK], "a", "?", session="s", **more) == 0
    assert told(runtime) == [["user", "assistant", "tool", "assistant"]]
    page = runtime.journal.sessions.page("", "s", -1)
    assert page["exchanges"][0]["agent"] == "teller"


def test_a_member_has_no_session(app: Celery, runtime: Runtime, offer: Any) -> None:
    offer("teller", Tells())
    payload = {"args": ["?"], "kwargs": {"agent": "teller", "session": "s"}}
    member = NewStep("m", "r", names.ASK, "agents", payload, max_attempts=1, parent_id="r")
    runtime.journal.insert(member).result(SOON)
    woken(app.tasks[names.ASK], "m")
    assert row(runtime, "m").outcome["error"]["message"].startswith("A session is of a run")


# ---------------------------------------------------------------- what is no session


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"session": ""}, "session: "),
        ({"session": "x" * 181}, "session: "),
        ({"session": "a\0b"}, "session: "),
        ({"session": "a\nb"}, "session: "),
        ({"session": "\ud800"}, "session: "),
        ({"session": 7}, "session: "),
        ({"session": "s", "window_tokens": -1}, "window_tokens: "),
        ({"session": "s", "window_tokens": 10**8}, "window_tokens: "),
        ({"session": "s", "window_tokens": True}, "window_tokens: "),
        ({"session": "s", "window_tokens": 1.5}, "window_tokens: "),
        ({"window_tokens": 10}, "window_tokens is of a session"),
    ],
)
def test_what_is_no_session(options: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidPayloadError, match=place):
        Ask.from_message(["?"], {"agent": "a", **options})
