"""Agents that ask agents: real workers, whose members are steps of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.journal.queries import reads
from celery_agents import RetryPolicy, TeamReport
from celery_agents.contracts.outcome import State
from celery_agents.errors import AgentFailedError, LimitReachedError, StepCancelledError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually, lines

pytestmark = pytest.mark.databases("one")

LEAD = """
[agents.lead]
kind = "openai"
model = "m"
base_url = "{url}/v1"
tools = ["agent:reviewer", "tests.support.team:weigh"]
price = {{ input_usd = 1, output_usd = 2 }}

[agents.desk]
kind = "openai"
model = "m"
base_url = "{url}/v1"
tools = ["agent:reviewer", "tests.support.team:weigh"]
handoffs = ["billing", "tech"]

[agents.billing]
kind = "anthropic"
model = "m"
base_url = "{url}"
handoffs = ["tech", "desk"]

[agents.tech]
kind = "google"
model = "m"
base_url = "{url}"
handoffs = ["billing"]
"""
PARTS = ["first", "left", "right"]
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=20)
BESIDE = Does(
    tools=(
        ("ask_reviewer", {"input": "one"}),
        ("weigh", {"text": "one"}),
        ("ask_reviewer", {"input": "two"}),
    )
)


def begun(where: Location, model: ModelServer) -> Stack:
    """A stack with a worker, whose agents write what they do into the file ``team``."""
    config = where.directory / "agents.toml"
    config.write_text(LEAD.format(url=model.url))
    env = {
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": '["tests.support.agents", "tests.support.team"]',
        "TEAM": str(where.directory / "team"),
    }
    made = Stack(*where, FAST | env | {"AGENTS_MAX_HANDOFFS": "2"})
    made.worker()
    return made


@pytest.fixture(scope="module")
def _common(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = begun(location, model)
    yield made
    made.close()


@pytest.fixture
def team(_common: Stack) -> Stack:
    """A stack for tests that harm it not: its file is empty, its tenant has been nobody yet."""
    (_common.directory / "team").unlink(missing_ok=True)
    return _common.tenanted()


@pytest.fixture
def mortal(own_location: Location, model: ModelServer) -> Iterator[Stack]:
    """A stack of the test's own, which kills its workers."""
    made = begun(own_location, model)
    yield made
    made.close()


def acts(stack: Stack) -> list[str]:
    """What agents did."""
    return lines(stack.directory / "team")


def test_a_model_asks_an_agent_twice_at_once_beside_a_tool(team: Stack, model: ModelServer) -> None:
    model.script(BESIDE, Does(text="Both are fine."))
    run = team.client.ask("lead", "Review one and two.")
    assert run.get(timeout=SOON_S) == "Both are fine."
    done = [line.split()[:2] for line in acts(team)]
    assert sorted(done) == [["review", "one"], ["review", "two"], ["weigh", "one"]]
    told = str(model.requests[-1].body)
    assert "one is fine" in told
    assert "two is fine" in told
    assert len(model.requests) == 2
    status = run.status()
    assert status is not None
    assert [s["agent"] for s in status["steps"]] == ["lead", "reviewer", "reviewer"]
    outcome = run.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.usage.calls, outcome.attempts) == (State.SUCCEEDED, 2, 1)
    assert outcome.usage.cost_usd == pytest.approx(280e-6)


NEEDED = ["plan", "print"] + [f"{act}-{part}" for act in ("draft", "text") for part in PARTS]


@pytest.mark.parametrize("kills", [0, 3])
def test_a_function_asks_and_nothing_finished_is_paid_twice(mortal: Stack, kills: int) -> None:
    """Workers die between; what was in flight then may be paid anew, and nothing else."""

    def paid() -> list[str]:
        return [line.split()[1] for line in acts(mortal)]

    run = mortal.client.ask("editor", "x", retry=QUICK)
    for number in range(kills):
        eventually(lambda: len(paid()) > 2 * number, "another act")  # noqa: B023 - at once
        mortal.workers[-1].kill()
        mortal.worker()
    words = "plan. draft-first.text-first. draft-left.text-left. draft-right.text-right. print."
    assert run.get(timeout=2 * SOON_S) == words
    assert sorted(set(paid())) == sorted(NEEDED)
    assert len(paid()) <= len(NEEDED) + 2 * kills  # two are in flight at the most
    assert mortal.read(reads.calls_made_twice) == 0
    keys = {tuple(line.split()[1:]) for line in acts(mortal)}
    assert len(keys) == len(NEEDED)  # the same key for the same act, each time
    status = run.status()
    assert status is not None
    assert [s["agent"] for s in status["steps"]] == ["editor", *["writer"] * 3]


def test_a_handover_beside_other_calls_loses_neither_result(
    team: Stack, model: ModelServer
) -> None:
    """And goes from one provider to the next: who is handed over to, hands over once more."""
    two = (("ask_reviewer", {"input": "one"}), ("ask_reviewer", {"input": "two"}))
    model.script(
        Does(tools=(("transfer_to_billing", {}), *two, ("weigh", {"text": "heavy"}))),
        Does(text="Look.", tool=("transfer_to_tech", {})),
        Does(text="Solved."),
    )
    run = team.client.ask("desk", "Help!", instructions="Be kind.")
    assert run.get(timeout=SOON_S) == "Solved."
    paths = [seen.path for seen in model.requests]
    assert ["chat" in paths[0], "messages" in paths[1], "generateContent" in paths[2]] == [True] * 3
    for seen in model.requests[1:]:
        told = str(seen.body)
        assert all(part in told for part in ("Help!", "one is fine", "two is fine", "Be kind."))
        assert "billing goes on." in told
    outcome = run.outcome()
    assert outcome is not None
    assert (outcome.agent, outcome.usage.calls) == ("tech", 3)


def test_nobody_is_handed_over_for_ever(team: Stack, model: ModelServer) -> None:
    """The third model in a row is told so, and answers itself."""
    model.script(
        Does(tool=("transfer_to_billing", {})),
        Does(tool=("transfer_to_desk", {})),
        Does(tool=("transfer_to_tech", {})),
        Does(text="I shall do it."),
    )
    run = team.client.ask("desk", "Help!")
    assert run.get(timeout=SOON_S) == "I shall do it."
    assert "handed over 2 times, the limit (max_handoffs)" in str(model.requests[-1].body)
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.agent == "desk"


def test_a_circle_ends(team: Stack) -> None:
    run = team.client.ask("ping", 0)
    with pytest.raises(AgentFailedError, match=r"pong failed: ping failed: .* \(max_depth\)"):
        run.get(timeout=SOON_S)
    turns = {int(line.split()[1]) for line in acts(team)}
    assert turns == set(range(6))  # the one that was asked, and five below it


def test_a_run_has_bounds_of_its_own(team: Stack) -> None:
    run = team.client.ask("ping", 0, max_depth=2)
    with pytest.raises(AgentFailedError, match=r"Agents ask agents 2 deep already"):
        run.get(timeout=SOON_S)
    assert {int(line.split()[1]) for line in acts(team)} == {0, 1, 2}


def test_nobody_is_asked_and_nothing_called_once_a_run_has_cost_enough(
    team: Stack, model: ModelServer
) -> None:
    """The first request costs all that there is: its model's two wishes are in vain."""
    model.script(BESIDE)
    run = team.client.ask("lead", "Review one and two.", max_cost=0.0001)
    with pytest.raises(LimitReachedError, match=r"have cost 0.0001\d USD.*\(max_cost\)"):
        run.get(timeout=SOON_S)
    assert len(model.requests) == 1
    assert acts(team) == []
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.usage.cost_usd == pytest.approx(140e-6)


def test_what_members_cost_counts_for_the_run(team: Stack, model: ModelServer) -> None:
    """Of a map, each of whose members pays once: those that come late enough are not made."""
    model.script(*(Does(text="Fine.") for _ in range(8)))
    run = team.client.map("lead", list("abcdefgh"), wave=1, max_cost=0.0003)
    result = run.get(timeout=SOON_S)
    paid = len(model.requests)
    assert paid == 3  # 140e-6 each, so that the third one reaches it
    assert result.failed == len("abcdefgh") - paid
    assert {failure.kind for failure in result.failures} == {"limit"}


def test_a_team_reports_who_did_what_for_how_much(team: Stack, model: ModelServer) -> None:
    model.script(BESIDE, Does(text="Both are fine."))
    report = team.client.team("lead", "Review one and two.").get(timeout=SOON_S)
    assert (report.value, report.agent) == ("Both are fine.", "lead")
    told = [(p.agent, p.asked_by, p.depth, p.task, p.usage.calls) for p in report.parts]
    assert told[0] == ("lead", None, 0, "Review one and two.", 2)
    asked = [("reviewer", "lead", 1, text, 0) for text in ("one", "two")]
    assert sorted(told[1:]) == asked
    assert report.usage.cost_usd == pytest.approx(280e-6)
    assert report.by_agent["lead"].cost_usd == pytest.approx(280e-6)
    assert all(part.state is State.SUCCEEDED for part in report.parts)


def test_a_team_that_failed_reports_too(team: Stack) -> None:
    """Whom there was no room for is told as one that was not asked."""
    run = team.client.team("ping", 0, max_depth=2)
    with pytest.raises(AgentFailedError) as failure:
        run.get(timeout=SOON_S)
    report = TeamReport.model_validate(failure.value.details["report"])
    told = [(p.agent, p.depth, p.error) for p in report.parts]
    failed = "agent_failed"
    assert told == [
        ("ping", 0, failed),
        ("pong", 1, failed),
        ("ping", 2, failed),
        ("pong", 3, "limit"),
    ]


def test_a_team_outlives_its_workers(mortal: Stack) -> None:
    """What has ended is not done again, and stands in the report once."""
    run = mortal.client.team("editor", "x", retry=QUICK)
    eventually(lambda: len(acts(mortal)) > 2, "some acts")
    mortal.workers[-1].kill()
    mortal.worker()
    report = run.get(timeout=2 * SOON_S)
    assert [p.agent for p in report.parts] == ["editor", *["writer"] * 3]
    assert sorted(p.task for p in report.parts[1:]) == sorted(PARTS)
    assert len(acts(mortal)) <= len(NEEDED) + 2


def test_cancelling_reaches_everyone(mortal: Stack) -> None:
    """Also who is born just then."""
    mortal.worker()
    run = mortal.client.ask("parent", 4)
    eventually(lambda: len(acts(mortal)) > 15, "some children")
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)

    def over() -> bool:
        status = run.status()
        assert status is not None
        return all(State(s["state"]).final for s in status["steps"])

    eventually(over, "nobody runs")
    born = len(acts(mortal))
    time.sleep(2)  # recovery has looked twice
    assert over()
    assert len(acts(mortal)) == born


def test_who_waits_within_a_step_is_told_how_to_ask(team: Stack) -> None:
    with pytest.raises(AgentFailedError, match=r"An agent asks by `await step\.ask"):
        team.client.ask("impatient", "x").get(timeout=SOON_S)


def paths(model: ModelServer) -> list[str]:
    """Which provider was asked each time, which tells the agent."""
    known = {"chat": "desk", "messages": "billing", "generateContent": "tech"}
    return [next(a for word, a in known.items() if word in seen.path) for seen in model.requests]


def test_who_was_handed_over_to_goes_on_in_the_session(team: Stack, model: ModelServer) -> None:
    """Until it is reset, or hands over itself; another session knows nothing of it."""

    def ask(question: str, session: str = "s", *, reset: bool = False) -> object:
        about: Any = {"session": session, "tenant": team.tenant}
        run = team.client.ask("desk", question, reset_active=reset, **about)
        return run.get(timeout=SOON_S)

    model.script(
        *(Does(tool=("transfer_to_billing", {})), Does(text="Paid.")),
        Does(text="On Monday."),
        *(Does(tool=("transfer_to_tech", {})), Does(text="Solved.")),
        Does(text="Again."),
        Does(text="Hello."),
        Does(text="Anew."),
    )
    assert [ask("Money?"), ask("When?"), ask("It broke."), ask("Sure?")] == [
        *("Paid.", "On Monday.", "Solved.", "Again.")
    ]
    assert ask("Hi.", session="other") == "Hello."
    assert ask("Start.", reset=True) == "Anew."
    agents = ["desk", "billing", "billing", "billing", "tech", "tech", "desk", "desk"]
    assert paths(model) == agents
    told = str(model.requests[5].body)
    said = ("Money?", "Paid.", "When?", "It broke.", "Solved.", "Sure?")
    assert all(part in told for part in said)
    found = list(team.client.sessions.read("s", tenant=team.tenant, timeout=SOON_S))
    assert [(e.asked, e.active) for e in found] == [
        *(("desk", "billing"), ("desk", "billing"), ("desk", "tech"), ("desk", "tech")),
        ("desk", None),
    ]
    assert [e.agent for e in found] == ["billing", "billing", "tech", "tech", "desk"]


@pytest.mark.databases("postgres")
def test_a_session_has_what_both_have_called(team: Stack, model: ModelServer) -> None:
    """Those before the handoff and those behind it, through the one who is handed over to next."""
    weigh = ("weigh", {"text": "heavy"})
    model.script(
        Does(text="I look.", tools=(weigh, ("transfer_to_billing", {}))),
        Does(tool=("transfer_to_desk", {})),
        Does(tool=("weigh", {"text": "light"})),
        Does(text="Both."),
        Does(text="5 and 5."),
    )
    run = team.client.ask("desk", "Weigh.", session="s", tenant=team.tenant)
    assert run.get(timeout=SOON_S) == "Both."
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.turns == ()  # the session has them
    run = team.client.ask("desk", "How much?", session="s", tenant=team.tenant)
    assert run.get(timeout=SOON_S) == "5 and 5."
    first, _ = team.client.sessions.read("s", tenant=team.tenant, timeout=SOON_S)
    calls = [call for message in first.messages for call in message.tool_calls]
    names = ["weigh", "transfer_to_billing", "transfer_to_desk", "weigh"]
    assert [call.name for call in calls] == names
    assert len({call.id for call in calls}) == len(names)
    results = [message.text for message in first.messages if message.role == "tool"]
    assert results == ["5", "billing goes on.", "desk goes on.", "5"]
    assert [message.text for message in first.messages if message.text][:2] == ["Weigh.", "I look."]
    told = str(model.requests[-1].body)  # the fake server takes no call without its result
    assert all(part in told for part in ("heavy", "light", "How much?"))


def test_who_is_active_outlives_a_killed_worker(mortal: Stack, model: ModelServer) -> None:
    """One in the midst of the run that hands over, one in that of the run that goes on."""
    first, hangs = Does(tool=("transfer_to_billing", {})), Does(hang=True)
    for question, does in (("Money?", [first, hangs]), ("When?", [hangs])):
        model.script(*does)
        run = mortal.client.ask("desk", question, session="s", retry=QUICK)
        eventually(lambda: len(model.requests) == len(does), "billing is asked")  # noqa: B023 - at once
        assert paths(model)[-1] == "billing"
        model.script(Does(text=f"{question} Yes."))
        mortal.workers[-1].kill()
        mortal.worker()
        assert run.get(timeout=2 * SOON_S) == f"{question} Yes."
        assert paths(model) == ["billing"]
    found = list(mortal.client.sessions.read("s", timeout=SOON_S))
    assert [(e.agent, e.active) for e in found] == [("billing", "billing")] * 2
