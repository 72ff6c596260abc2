"""Sessions with real workers: what runs remember of each other, whatever happens to them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from celery_agents import RetryPolicy
from celery_agents.errors import (
    AgentsError,
    DeadlineExceededError,
    InvalidPayloadError,
    StepCancelledError,
    StepDeadError,
)
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack, celery, eventually, lines
from tests.support.service import APP

pytestmark = pytest.mark.databases("one")


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


def test_tools_of_an_earlier_answer_are_remembered(stack: Stack, model: ModelServer) -> None:
    model.script(Does(tool=("charge", {"cents": 5})), Does(text="Charged."), Does(text="5 cents."))
    stack.client.ask("charging", "Charge 5.", session="tools").get(timeout=SOON_S)
    stack.client.ask("charging", "How much?", session="tools").get(timeout=SOON_S)
    _, asked, told, _, newest = model.requests[-1].body["messages"]
    assert asked["tool_calls"][0]["function"]["name"] == "charge"
    assert told["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert newest == {"role": "user", "content": "How much?"}
    # Another provider goes on with it.
    model.script(Does(text="5."))
    stack.client.ask("claude", "Sure?", session="tools").get(timeout=SOON_S)
    assert "tool_use" in str(model.requests[-1].body)
    roles = [[m.role for m in e.messages] for e in stack.client.sessions.read("tools")]
    assert roles == [
        ["user", "assistant", "tool", "assistant"],
        ["user", "assistant"],
        ["user", "assistant"],
    ]


def test_a_function_and_a_service_see_it_too(stack: Stack, model: ModelServer) -> None:
    first = stack.client.ask("chat", {"name": "a"}, session="both").get(timeout=SOON_S)
    assert first == ["a"]
    model.script(Does(raw=b'{"value": "noted"}'))
    stack.client.ask("service", {"name": "b"}, session="both").get(timeout=SOON_S)
    sent = model.requests[-1].body["messages"]
    assert [m["content"] for m in sent] == ['{"name": "a"}', '["a"]']
    third = stack.client.ask("chat", {"name": "c"}, session="both").get(timeout=SOON_S)
    assert third == ["a", "b", "c"]


def test_a_task_of_another_app_has_none(stack: Stack) -> None:
    with pytest.raises(InvalidPayloadError, match="without a session"):
        stack.client.ask("shop", "?", session="shop").get(timeout=SOON_S)
    assert texts(stack, "shop") == []
    assert stack.client.ask("chat", {"name": "a"}, session="shop").get(timeout=SOON_S) == ["a"]


def test_what_was_left_out_is_told(stack: Stack, model: ModelServer) -> None:
    model.script(Does(text="x" * 40))
    for n in range(3):
        stack.client.ask("gpt", f"Question {n}?", session="window").get(timeout=SOON_S)
    run = stack.client.ask("gpt", "Question 3?", session="window", window_tokens=20)
    run.get(timeout=SOON_S)
    told = str(model.requests[-1].body)
    assert "Question 2?" in told
    assert "Question 1?" not in told
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.left_out == 2
    status = run.status(timeout=SOON_S)
    assert status is not None
    assert status["steps"][0]["left_out"] == 2


# ---------------------------------------------------------------- several runs, and faults


def test_two_at_once_are_ordered(common: Stack, counted: Path) -> None:
    asked = [
        common.client.ask(
            "chat",
            {"name": n, "path": str(counted), "seconds": 1},
            session="s",
            tenant=common.tenant,
        )
        for n in ("a", "b")
    ]
    answers = sorted((run.get(timeout=SOON_S) for run in asked), key=len)
    first, second = answers
    assert second == [*first, *({"a", "b"} - {*first})]
    assert [line.split()[1:] for line in lines(counted)] == [["1", "0"], ["1", "1"]]
    assert [len(t) for t in texts(common, "s", tenant=common.tenant)] == [2, 2]


def test_a_crowd_takes_turns(common: Stack, counted: Path) -> None:
    inputs: list[Any] = [{"name": str(n), "path": str(counted)} for n in range(30)]
    began = time.monotonic()
    answers = common.client.runs.collect(
        common.client.ask.many("chat", inputs, session="s", tenant=common.tenant),
        timeout=2 * SOON_S,
    )
    assert sorted(len(a) for a in answers) == [*range(1, 31)]
    longest = max(answers, key=len)
    assert all(a == longest[: len(a)] for a in answers)
    assert len(lines(counted)) == 30
    assert time.monotonic() - began < SOON_S  # each is woken by the end before it


@pytest.mark.parametrize("end", ["fails", "is cancelled", "is late"])
def test_who_does_not_succeed_leaves_nothing(common: Stack, counted: Path, end: str) -> None:
    order: Any = {"name": "a", "path": str(counted), "seconds": 60, "fail": True}
    more: dict[str, Any] = {}
    if end == "fails":
        order["seconds"] = 1
    if end == "is late":
        more = {"deadline_s": 4}
    run = common.client.ask("chat", order, session="s", tenant=common.tenant, **more)
    eventually(lambda: lines(counted), "it holds the session")
    other = common.client.ask("chat", {"name": "b"}, session="s", tenant=common.tenant)
    if end == "is cancelled":
        run.cancel()
    with pytest.raises(AgentsError):
        run.get(timeout=SOON_S)
    assert other.get(timeout=SOON_S) == ["b"]
    (exchange,) = common.client.sessions.read("s", **common.mine)
    assert exchange.run_id == other.id
    (info,) = common.client.sessions.list(**common.mine)
    assert (info.holder, info.exchanges) == (None, 1)


def test_a_run_that_waits_is_cancelled(common: Stack, counted: Path) -> None:
    seen = counted.with_name("seen")
    order: Any = {"name": "a", "path": str(counted), "after": str(seen)}
    first = common.client.ask("chat", order, session="s", tenant=common.tenant)
    eventually(lambda: lines(counted), "it holds the session")
    second, third = (
        common.client.ask("chat", {"name": n}, session="s", tenant=common.tenant) for n in "bc"
    )
    second.cancel()
    with pytest.raises(StepCancelledError):
        second.get(timeout=SOON_S)
    assert not first.ready()
    seen.touch()
    assert third.get(timeout=SOON_S) == ["a", "c"]


def test_a_run_that_waits_for_too_long_is_late(common: Stack, counted: Path) -> None:
    seen = counted.with_name("seen")
    order: Any = {"name": "a", "path": str(counted), "after": str(seen)}
    first = common.client.ask("chat", order, session="s", tenant=common.tenant)
    eventually(lambda: lines(counted), "it holds the session")
    second = common.client.ask(
        "chat", {"name": "b"}, session="s", tenant=common.tenant, deadline_s=1
    )
    with pytest.raises(DeadlineExceededError):
        second.get(timeout=SOON_S)
    seen.touch()
    assert first.get(timeout=SOON_S) == ["a"]
    assert len(texts(common, "s", tenant=common.tenant)) == 1


@pytest.mark.parametrize("until", [2, 99], ids=["goes on", "dies"])
def test_a_killed_worker_leaves_a_whole_exchange_or_none(
    either: Stack, counted: Path, until: int
) -> None:
    """The worker dies under the run that holds the session, while another one waits for it."""
    for n in range(3):
        either.client.ask("chat", {"name": str(n)}, session="s").get(timeout=SOON_S)
    order: Any = {"name": "k", "path": str(counted), "until": until}
    retry = RetryPolicy(max_attempts=3)
    run = either.client.ask("chat", order, session="s", retry=retry, window_tokens=60)
    eventually(lambda: lines(counted), "it holds the session")
    other = either.client.ask("chat", {"name": "o"}, session="s")
    for _ in range(min(until, 4) - 1):
        eventually(lambda: not either.workers[-1].running, "it died")
        either.worker()
    if until == 2:
        assert run.get(timeout=SOON_S)[-1] == "k"
        assert other.get(timeout=SOON_S)[-2:] == ["k", "o"]
    else:
        with pytest.raises(StepDeadError):
            run.get(timeout=SOON_S)
        assert other.get(timeout=SOON_S)[-2:] == ["2", "o"]
    assert len(texts(either, "s")) == (5 if until == 2 else 4)
    told = {line.split()[2] for line in lines(counted)}
    assert len(told) == 1  # each attempt is told the same


def test_a_model_is_paid_once_through_a_kill(
    fast: Stack, model: ModelServer, tmp_path: Path
) -> None:
    """What an attempt after a crash asks is what was asked before, whatever the window is then."""
    config = tmp_path / "agents.toml"
    config.write_text(
        f'[agents.gpt]\nkind = "openai"\nmodel = "m"\nbase_url = "{model.url}/v1"\n'
        'tools = ["tests.support.agents:kill_once"]\n'
    )
    env = {"AGENTS_CONFIG": str(config), "AGENTS_SESSION_WINDOW_TOKENS": "30"}
    fast.env |= env
    worker = fast.worker()
    model.script(Does(text="x" * 60))
    for n in range(3):
        fast.client.ask("gpt", f"Question {n}?", session="s").get(timeout=SOON_S)
    model.script(Does(tool=("kill_once", {"path": str(tmp_path / "killed")})), Does(text="Done."))
    run = fast.client.ask("gpt", "Kill it.", session="s")
    eventually(lambda: not worker.running, "it died")
    fast.env |= {"AGENTS_SESSION_WINDOW_TOKENS": "1000"}
    fast.worker()
    assert run.get(timeout=SOON_S) == "Done."
    assert len(model.requests) == 2
    outcome = run.outcome()
    assert outcome is not None
    assert (outcome.left_out, outcome.attempts) == (2, 2)


def test_each_tenant_has_its_own(stack: Stack) -> None:
    for tenant in ("one", "two"):
        run = stack.client.ask("chat", {"name": tenant}, session="tenants", tenant=tenant)
        assert run.get(timeout=SOON_S) == [tenant]
    assert texts(stack, "tenants", tenant="two") == [['{"name": "two"}', '["two"]']]
    with pytest.raises(InvalidPayloadError, match="no session 'tenants'"):
        texts(stack, "tenants")


def test_a_session_is_a_runs(stack: Stack) -> None:
    """A pattern cannot pass one on to its members."""
    with pytest.raises(InvalidPayloadError, match="session"):
        stack.client.fallback(["chat"], {"name": "a"}, session="s")  # type: ignore[call-overload]  # it has none


def test_from_a_shell(stack: Stack) -> None:
    def agents(*argv: str, code: int = 0) -> str:
        done = celery("-A", APP, "agents", *argv, env=stack.env)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    assert agents("ask", "noop", "Hello", "--session", "shell") == "Hello\n"
    assert agents("sessions", "read", "shell") == "0 user: Hello\n0 assistant: Hello\n"
    (told,) = json.loads(agents("sessions", "read", "shell", "--json"))
    assert told["messages"][1] == {"role": "assistant", "content": "Hello"}
    assert agents("sessions", "fork", "shell", "copy") == "copy begins with 1 exchanges of shell.\n"
    listed = json.loads(agents("sessions", "list", "--json", "--limit", "1000"))
    assert {"shell", "copy"} <= {s["name"] for s in listed}
    assert "copy  20" in agents("sessions", "list")
    assert agents("sessions", "delete", "copy") == "copy is deleted.\n"
    assert "no session" in agents("sessions", "delete", "copy", code=1)
    assert "no session" in agents("sessions", "read", "copy", code=1)
