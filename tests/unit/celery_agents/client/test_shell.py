"""Every verb of the client's commands, for people and with ``--json``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import Mock

import click
import pytest
from click.testing import CliRunner, Result

from celery_agents import (
    ActorState,
    ChatMessage,
    RunEvent,
    StreamEntry,
    StreamLimitsInfo,
    StreamState,
    SubscriptionInfo,
    TopicInfo,
    TopicMessage,
)
from celery_agents.client import cli
from celery_agents.client.evaluating.report import EvaluatedCase, EvaluationReport
from celery_agents.client.overview import figures, tables
from celery_agents.client.shell import Command, Commands, Shown
from celery_agents.contracts.approval import Wish
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent
from celery_agents.contracts.caching import CacheState, Warmed
from celery_agents.contracts.experience import EffectSide, MemoryEffect
from celery_agents.contracts.flows.schedules import ScheduleInfo, ScheduleRule, StartedRun
from celery_agents.contracts.flows.subscriptions import StreamLimits, SubscriptionRule
from celery_agents.contracts.governance import Estimate
from celery_agents.contracts.limits import LimitPolicy, LimitState
from celery_agents.contracts.memory import MemoryRecord
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.session import SessionExchange, SessionInfo
from celery_agents.contracts.teams.solve import Solution, StrategyRecord, WorkLessons
from celery_agents.contracts.teams.swarm import SwarmInfo, SwarmStatus, SwarmWork
from celery_agents.contracts.teams.team import TeamPart, TeamReport
from celery_agents.contracts.tenants import TenantState
from celery_agents.contracts.verdicts import VoterRecord
from celery_agents.contracts.vote import Decision
from celery_agents.contracts.watching import (
    Cluster,
    MemberProgress,
    QueueState,
    RunInfo,
    RunPage,
    ServingWorker,
    Stats,
    StepStats,
)
from celery_agents.errors import BrokerUnavailableError
from tests.unit.celery_agents.client.test_run import DECISION

#: Every verb, with arguments that a client serves, and what its JSON has.
EFFECT = MemoryEffect(
    told=EffectSide(runs=9, succeeded=9.0),
    held_out=EffectSide(runs=2, succeeded=1.0),
    by=0.5,
    low=-0.1,
    high=0.9,
)
VERBS: dict[str, tuple[list[str], Any]] = {
    "ask": (["a", "x"], {"id": "r", "state": "succeeded", "value": "said\x7f"}),
    "vote": (["-v", "a", "q"], {"id": "r", "state": "succeeded"}),
    "solve": (["x", "-s", "a"], {"id": "r", "value": {"strategy": "a", "value": "said"}}),
    "team": (["a", "x"], {"id": "r", "value": {"value": "said", "parts": [{"agent": "a\x7f"}]}}),
    "learned": ([], [{"verb": "solve", "work": "triage", "records": [{"name": "a\x7f"}]}]),
    "feedback": (["r", "0.5"], {"id": "r", "score": 0.5}),
    "status": (["r"], {"state": "running"}),
    "runs list": (["--failed"], {"runs": [{"id": "r", "state": "failed"}], "more": "x"}),
    "runs show": (["r"], {"id": "r", "steps": [{"id": "r"}]}),
    "runs progress": (["r"], {"total": 4, "done": 2, "left_s": 5.0}),
    "map resume": (["r", "--max-concurrent", "5"], {"id": "r", "resumes": "r"}),
    "map export": (["r", "r.csv"], {"path": "r.csv", "written": 1}),
    "evaluate": ([__file__, "a\x7f"], {"subject": "a", "metrics": {"exact": {"mean": 1.0}}}),
    "stats": (["--since", "2h"], {"rows": [{"name": "gpt", "count": 3, "p95_s": 2.0}]}),
    "cluster": ([], {"workers": [{"name": "w@h", "running": 2, "slots": 16}], "ready": 4}),
    "watch": (["r"], {"type": "end", "step_id": "r"}),
    "waiting": ([], [{"tool": "pay"}]),
    "approve": (["r", "true"], {"id": "r", "choice": True}),
    "cancel": (["r"], {"id": "r"}),
    "fork": (["r", "--after", "ledger"], {"id": "r", "of": "r"}),
    "estimate": (["a", "x"], {"agent": "a", "input_tokens": 3}),
    "limits list": ([], [{"name": "openai", "in_use": 2}]),
    "limits pause": (["openai"], {"name": "openai"}),
    "limits resume": (["openai"], {"name": "openai"}),
    "cache list": ([], [{"name": "gpt", "entries": 2}]),
    "cache clear": (["gpt"], {"name": "gpt", "forgotten": 2}),
    "cache warm": ([__file__], {"asked": 3, "known": 1, "left": 4}),
    "tenants": ([], [{"name": "acme", "queued": 3}]),
    "budgets list": ([], [{"name": "company", "spent": {"nano_usd": 7}}]),
    "budgets release": (["company"], {"name": "company", "calls": 2}),
    "schedules list": ([], [{"name": "digest\x7f", "next_at": 2.0}, {"name": "hourly"}]),
    "schedules show": (["digest"], {"name": "digest\x7f", "runs": [{"run_id": "r"}]}),
    "schedules put": (["digest", "{}", "--flow", "f", "--cron", "0 9 * * *"], {"next_at": 2.0}),
    "schedules pause": (["digest"], {"name": "digest"}),
    "schedules resume": (["digest"], {"name": "digest"}),
    "schedules trigger": (["digest"], {"name": "digest", "id": "r"}),
    "schedules delete": (["digest"], {"name": "digest"}),
    "events list": ([], [{"name": "x\x7f", "behind": 3}, {"name": "sums", "version": 2}]),
    "events on": (["order/*", "--flow", "f"], {"name": "x\x7f"}),
    "events off": (["x"], {"name": "x"}),
    "events pause": (["x"], {"name": "x"}),
    "events resume": (["x"], {"name": "x"}),
    "events rebuild": (["sums"], {"name": "sums"}),
    "events append": (["order/7", "paid", '{"n": 1}'], {"stream": "order/7", "seq": 4}),
    "events read": (["order/7"], {"seq": 4, "kind": "paid\x7f"}),
    "events state": (["order/7", "balance"], {"state": "rich\x7f", "seq": 4}),
    "events keep": (["order/*", "--days", "2"], {"of": "order/*", "keep_s": 172_800.0}),
    "events kept": ([], [{"of": "order/*", "trimmed": 7}]),
    "topics list": ([], [{"topic": "alerts\x7f", "messages": 2}]),
    "topics publish": (["alerts", "full"], {"topic": "alerts", "place": 4}),
    "topics history": (["alerts"], {"place": 0, "body": "full\x7f"}),
    "topics listen": (["alerts", "me"], {"place": 0, "body": "full\x7f"}),
    "topics dead": (["alerts"], {"seq": 4, "data": {"place": 0}}),
    "topics subscribe": (["alerts", "a"], {"name": "x\x7f"}),
    "swarms list": ([], [{"name": "desk\x7f", "entries": 3}]),
    "swarms members": (["desk"], {"name": "desk", "members": {"ann\x7f": "gpt"}}),
    "swarms status": (["desk"], {"name": "desk", "work": [{"run_id": "r", "units": 9}]}),
    "actors list": ([], [{"actor": "Cart", "key": "ada\x7f", "unread": 2}]),
    "actors tell": (["Cart", "ada", "add", "tea"], {"id": "m\x7f"}),
    "actors ask": (["Cart", "ada", "add", "tea"], {"value": ["tea\x7f"]}),
    "actors state": (["Cart", "ada"], {"value": {"items": ["tea\x7f"]}}),
    "actors dead": (["Cart", "ada"], {"id": "m\x7f", "method": "add"}),
    "memory search": (["c", "shoes", "-s", "customer=ann"], [{"id": "m", "text": "size 43\x7f"}]),
    "memory export": (["c"], [{"id": "m", "until": 2.0}]),
    "memory forget": (["c", "m"], {"name": "c", "erased": 2}),
    "memory effect": (["c", "--agent", "a"], {"told": {"runs": 9}, "by": 0.5}),
    "memory reembed": (["c"], {"name": "c", "embedded": 2}),
    "verdict": (["r", "right"], {"id": "r", "verdict": "right"}),
    "voters": ([], {"gpt": {"right": 3.0, "judged": 4.0}}),
    "sessions list": ([], [{"name": "s", "exchanges": 2}]),
    "sessions read": (["s"], [{"place": 0, "run_id": "r"}]),
    "sessions fork": (["s", "t"], {"name": "t", "exchanges": 2}),
    "sessions delete": (["s"], {"name": "s"}),
}
OUTCOME = Outcome(state=State.SUCCEEDED, value="said", usage=Usage(calls=1))

RUN = RunInfo(id="r", task="agents.ask", state=State.FAILED, created_at=1.0, error="a: b\x7f")
RUNS = SubscriptionInfo(
    name="x\x7f",
    of="order/*",
    serves="runs",
    task="agents.ask",
    what="a",
    rule=SubscriptionRule(),
    behind=3,
    error="no\x7f",
)
SUMS = SubscriptionInfo(
    name="sums", of="*", serves="projection", version=2, rule=SubscriptionRule(), paused=True
)


def _events() -> Mock:
    entry = StreamEntry(stream="order/7", seq=4, kind="paid\x7f", data={"x": "\x7f"}, at=1.0)
    state = StreamState(stream="order/7", reducer="balance", version=1, state="rich\x7f", seq=4)
    limits = StreamLimits(keep_s=5.0)
    return Mock(
        subscriptions=lambda **_: [RUNS, SUMS],
        on=lambda *_, **__: RUNS,
        append=lambda *_, **__: [4],
        read=lambda *_, **__: iter([entry]),
        state=lambda *_, **__: state,
        kept=lambda **_: [StreamLimitsInfo(of="order/*", limits=limits, trimmed=7)],
    )


def _actors() -> Mock:
    about: Any = {"actor": "Cart", "key": "ada\x7f", "run_id": "r", "state": "waiting"}
    state = ActorState(**about, unread=2, created_at=1.0, value={"items": ["tea\x7f"]})
    dead = {"id": "m\x7f", "method": "add", "at": 1.0, "error": {"message": "no\x7f"}}
    return Mock(
        list=lambda *_, **__: [state],
        tell=lambda *_, **__: "m\x7f",
        ask=lambda *_, **__: ["tea\x7f"],
        state=lambda *_, **__: state,
        dead=lambda *_, **__: iter([dead]),
    )


def _swarm() -> Mock:
    work = SwarmWork(run_id="r", state=State.WAITING, units=9, succeeded=2)
    about: Any = {"members": {"ann\x7f": "gpt"}, "work": (work,)}
    return Mock(
        list=lambda **_: [SwarmInfo(name="desk\x7f", entries=3, last_at=1.0)],
        status=lambda *_, **__: SwarmStatus(name="desk", **about),
    )


def _topics() -> Mock:
    told = TopicMessage(topic="alerts", place=0, body="full\x7f", at=1.0)
    letter = {"place": 0, "listener": "me\x7f", "reason": "no"}
    dead = StreamEntry(stream="dead/alerts", seq=4, kind="dead", data=letter, at=1.0)
    return Mock(
        list=lambda **_: [TopicInfo(topic="alerts\x7f", messages=2, last_at=1.0)],
        publish=lambda *_, **__: 4,
        history=lambda *_, **__: iter([told]),
        listen=lambda *_, **__: iter([told]),
        dead=lambda *_, **__: iter([dead]),
        subscribe=lambda *_, **__: RUNS,
    )


SHOWN: dict[str, Any] = {
    "id": "r",
    "task": "agents.map",
    "tenant": "t",
    "state": "waiting",
    "created_at": 1.0,
    "finished_at": None,
    "usage": None,
    "compensation": None,
    "steps_left_out": 3,
    "steps": [
        {
            "id": "r",
            "parent_id": None,
            "member": None,
            "task": "agents.map",
            "agent": None,
            "state": "waiting",
            "attempts": 2,
            "error": None,
            "usage": None,
            "left_out": 0,
            "why": "0 of 2 members have ended\x7f",
            "started_at": 1.0,
            "finished_at": None,
        }
    ],
    "progress": [],
    "events": [],
    "calls": [],
    "votes": {},
}
PROGRESS = MemberProgress(step_id="r", state=State.WAITING, total=4, succeeded=2, elapsed_s=5.0)

TOOK = StepStats(name="gpt", state=State.SUCCEEDED, count=3, median_s=0.5, p95_s=2.0, max_s=5e3)
STATS = Stats(since=1.0, until=2.0, counted_until=1.5, rows=(TOOK,))
WORKER = ServingWorker(
    name="w@h", host="h", pid=1, started_at=1.0, lease_left_s=9.0, running=2, slots=16
)
QUEUES = (QueueState(name="agents", queued={0: 0, 5: 7}), QueueState(name="c", queued={}))
CLUSTER = Cluster(workers=(WORKER,), queues=QUEUES, ready=4, oldest_ready_s=3.0)

ESTIMATE = Estimate(
    agent="a",
    model="m",
    input_tokens=3,
    likely_input_tokens=2,
    output_tokens=5,
    learned_from=9,
    nano_usd=7,
)


SCHEDULE = ScheduleInfo(
    name="digest\x7f",
    rule=ScheduleRule(cron="0 9 * * *", tz="Europe/Berlin"),
    task="agents.flow",
    of="f",
    next_at=2.0,
    runs=(StartedRun(run_id="r", at=1.0),),
    error="no\x7f",
)
HOURLY = ScheduleInfo(name="hourly", rule=ScheduleRule(every_s=3600.0), task="agents.vote")


class Answered:
    """A run that has ended."""

    id = "r"

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self, timeout: float) -> Any:
        return self.value

    def outcome(self) -> Outcome:
        return OUTCOME

    def events(self, **_: Any) -> Iterator[RunEvent]:
        yield RunEvent(id="1-1", type="text", step_id="r", text="sa")
        yield RunEvent(id="end", type="end", step_id="r", outcome=OUTCOME)


EVALUATED = EvaluationReport.of(
    "a", [EvaluatedCase(id="1", run_id="r", scores={"exact": 1.0}, latency_s=0.5)]
)


class Served:
    """A client to which everything is answered."""

    def __init__(self, *_: Any, **__: Any) -> None:
        wish = Wish(run_id="r", key="k", tool="pay", since=1.0)
        info = SessionInfo(name="s", exchanges=2, created_at=1.0, changed_at=1.0)
        message = ChatMessage(role="user", content="hello")
        exchange = SessionExchange(
            place=0, run_id="r", agent="a", at=1.0, tokens=1, messages=(message,)
        )
        self.runs = SimpleNamespace(
            status=lambda _: {"state": "running"},
            handle=lambda _: Answered("said"),
            waiting=lambda *_, **__: [wish],
            approve=lambda *_, **__: None,
            cancel=lambda _: None,
            known=lambda _: True,
            list=lambda **_: RunPage(runs=(RUN,), more="x"),
            show=lambda *_, **__: SHOWN,
            progress=lambda _: PROGRESS,
            results=lambda _: iter([(0, OUTCOME)]),
        )
        self.evaluate = lambda *_, **__: EVALUATED
        self.map = SimpleNamespace(resume=lambda *_, **__: Answered("said"))
        state = LimitState(name="openai", policy=LimitPolicy(concurrent=9), in_use=2)
        self.limits = SimpleNamespace(
            list=lambda: [state], pause=lambda *_: None, resume=lambda *_: None
        )
        self.cache = SimpleNamespace(
            list=lambda: [CacheState(name="gpt", entries=2, local_hits=1, misses=1)],
            clear=lambda _: 2,
            warm=lambda *_, **__: Warmed(asked=3, known=1, left=4),
        )
        self.stats = lambda *_, **__: STATS
        self.cluster = lambda: CLUSTER
        self.tenants = lambda: [TenantState(name="acme", queue="agents", queued=3)]
        policy = BudgetPolicy(usd=1, calls=5, every="day", per="tenant")
        spent, free = Spent(nano_usd=7, calls=1), Spent(nano_usd=9, calls=2)
        about: dict[str, Any] = {"subject": "acme\x7f", "ends_at": 1_790_000_000.0}
        budget = BudgetState(name="company", policy=policy, spent=spent, **about)
        self.budgets = Mock(return_value=[budget], release=Mock(return_value=free))
        self.start = Mock()
        self.schedules = Mock(
            list=lambda **_: [SCHEDULE, HOURLY],
            get=lambda *_, **__: SCHEDULE,
            put=Mock(return_value=SCHEDULE),
            trigger=lambda *_, **__: Answered("said"),
        )
        self.events, self.topics = _events(), _topics()
        self.actors, self.swarm = _actors(), _swarm()
        kept = MemoryRecord(id="m", text="size 43\x7f", tokens=4, at=1.0, until=2.0)
        self.memory = SimpleNamespace(
            search=lambda *_, **__: [kept],
            export=lambda *_, **__: iter([kept]),
            forget=lambda *_, **__: 2,
            reembed=lambda *_, **__: 2,
            effect=lambda *_, **__: EFFECT,
        )
        self.sessions = SimpleNamespace(
            list=lambda **_: [info],
            read=lambda *_, **__: iter([exchange]),
            fork=lambda *_, **__: 2,
            delete=lambda *_, **__: True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, *_: Any, **__: Any) -> Answered:
        return Answered("said\x7f")

    @property
    def solve(self) -> Any:
        record = StrategyRecord(name="a\x7f", attempts=3.0, reward=0.9, median_s=1.5)
        about: Any = {"work": "triage", "requests": 3, "changed_at": 1.0, "records": (record,)}
        return Mock(
            return_value=Answered(Solution(value="said", strategy="a")),
            learned=lambda _: [WorkLessons(verb="solve", **about)],
        )

    @property
    def verdicts(self) -> Any:
        record = VoterRecord(right=3.0, judged=4.0)
        return Mock(voters=lambda **_: {"gpt": record})

    def team(self, *_: Any, **__: Any) -> Answered:
        part = TeamPart(step_id="s", agent="a\x7f", state=State.SUCCEEDED, task="x\x7f")
        return Answered(TeamReport(value="said", parts=(part,)))

    def estimate(self, *_: Any) -> Estimate:
        return ESTIMATE

    def fork(self, *_: Any) -> Answered:
        return Answered("said")

    def vote(self, *_: Any, **__: Any) -> Answered:
        return Answered(Decision.model_validate(DECISION))


class Away:
    """A client whose broker is away."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise BrokerUnavailableError("Redis is away\u202e.")


def verbs(group: click.Group, before: str = "") -> Iterator[str]:
    """The names of all commands of a group, and of the groups in it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield before + name


def call(*words: str) -> Result:
    obj = SimpleNamespace(app=SimpleNamespace(conf=SimpleNamespace(broker_url=None)))
    return CliRunner().invoke(cli.agents, words, obj=obj)


def has(found: Any, told: Any) -> bool:
    """True when all that is told stands in what was found."""
    if isinstance(told, dict):
        return all(has(found[key], part) for key, part in told.items())
    if isinstance(told, list):
        return len(found) == len(told) and all(map(has, found, told))
    return bool(found == told)


def is_listed(told: Any) -> bool:
    """Return whether a verb lists what there is: it may be nothing."""
    return isinstance(told, list) and bool(told)


def is_sentence(text: str) -> bool:
    """Return whether a text is one line of words, and neither a table's head nor nothing."""
    return re.fullmatch(r"[A-Z]\S*( \S+)+\n", text) is not None


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tables made as for a terminal of 80 columns."""
    stdout = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(tables, "sys", SimpleNamespace(stdout=stdout))
    monkeypatch.setattr(tables, "width", lambda: 80)
    monkeypatch.setattr(figures, "width", lambda: 80)


def test_lists_fit_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    long = "long " * 600

    class Wordy(Served):
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__()
            wish = Wish(run_id="r" * 36, key="k" * 64, since=1.0, question=long, choices=(long,))
            self.runs.waiting = lambda *_, **__: [wish]
            took: dict[str, Any] = {
                "mean_s": 1.234,
                "median_s": 0.1234,
                "p95_s": 123.4,
                "p99_s": 0.1234,
            }
            cost = Usage(cost_usd=12.3456)
            row = TOOK.model_copy(
                update={**took, "name": "a" * 40, "count": 123_456, "usage": cost}
            )
            self.stats = lambda *_, **__: STATS.model_copy(update={"rows": (row,)})
            state = LimitState(name=long, policy=LimitPolicy(concurrent=9), in_use=2)
            self.limits.list = lambda: [state]
            self.tenants = lambda: [TenantState(name=long, queue="agents", queued=3)]

    monkeypatch.setattr(cli, "Client", Wordy)
    for verb in ("waiting", "stats", "limits list", "tenants", "cluster"):
        done = call(*verb.split())
        assert done.exit_code == 0
        assert max(map(len, done.output.splitlines())) <= 80, verb
    told = call("waiting").output
    assert "k" * 64 in told
    assert "r" * 36 in told
    assert "question: long long" in told


RUN_FLAGS = {
    "--tenant": ("tenant", "acme"),
    "--max-depth": ("max_depth", 0),
    "--max-width": ("max_width", 2),
    "--max-steps": ("max_steps", 3),
    "--max-handoffs": ("max_handoffs", 1),
    "--max-cost": ("max_cost", 0.5),
    "--deadline": ("deadline_s", 9.5),
    "--stream": ("stream", True),
    "--webhook": ("webhook", "https://x/"),
}
SESSION_FLAGS = {
    "--session": ("session", "s"),
    "--window-tokens": ("window_tokens", 0),
    "--reset-active": ("reset_active", True),
}


@pytest.mark.parametrize(
    ("verb", "flags"), [("ask", RUN_FLAGS | SESSION_FLAGS), ("vote", RUN_FLAGS)]
)
def test_a_flag_is_an_option_of_the_verb(
    verb: str, flags: dict[str, tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not given says nothing, and 0 is not nothing."""
    asked: list[dict[str, Any]] = []

    class Asked(Served):
        def ask(self, *_: Any, **options: Any) -> Answered:
            asked.append(options)
            return Answered("said")

        vote = ask

    monkeypatch.setattr(cli, "Client", Asked)
    words = [verb, *VERBS[verb][0]]
    given = [w for f, (_, v) in flags.items() for w in [f, str(v)][: 1 if v is True else 2]]
    assert call(*words, *given).exit_code == 0
    assert call(*words).exit_code == 0
    rule = {"rule": {"kind": "majority"}} if verb == "vote" else {}
    assert asked == [dict(flags.values()) | rule, rule]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (["text:sa", "state", "text:id", "state"], ["sa", "id"]),  # not said again
        (["text:sa", "restart", "state"], ["sa", "said"]),
        (["state"], ["said"]),
        (["other:sa"], ["sa", "said"]),  # of a member
    ],
)
def test_what_a_run_tells_while_it_works(
    told: list[str], shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(self: Answered, **_: Any) -> Iterator[RunEvent[Any]]:
        for n, one in enumerate(told):
            kind, text = (*one.split(":"), "")[:2]
            about: Any = {"type": kind, "step_id": "r"}
            if kind == "other":
                about = {"type": "text", "step_id": "m"}
            yield RunEvent(id=f"{n}-1", text=text, **about)
        yield RunEvent(id="end", type="end", step_id="r", outcome=OUTCOME)

    monkeypatch.setattr(cli, "Client", Served)
    monkeypatch.setattr(Answered, "events", events)
    monkeypatch.setattr(Served, "ask", lambda *_, **__: Answered("said"))
    done = call("ask", "a", "x", "--stream")
    assert done.exit_code == 0
    assert [line for line in done.stdout.split("\n") if line and line[0] != "["] == shown
    lines = call("ask", "a", "x", "--stream", "--json").stdout.splitlines()
    assert json.loads(lines[-1])["value"] == "said"
    assert len(lines) == len(told) + 1


def test_every_verb_is_in_the_table() -> None:
    assert set(verbs(cli.agents)) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_its_result(
    verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # there are commands that write files
    monkeypatch.setattr(cli, "Client", Served)
    words, told = VERBS[verb]
    done = call(*verb.split(), *words, "--json")
    assert done.exit_code == 0, done.output
    text = done.stdout.splitlines()[-1] if verb == "watch" else done.stdout
    assert has(json.loads(text), told)
    plain = call(*verb.split(), *words)
    assert plain.exit_code == 0
    assert plain.stdout.strip()
    assert "\x7f" not in plain.stdout


class Nothing:
    """A client of a service in which there is nothing of anything."""

    def __getattr__(self, name: str) -> Self:
        return self

    def __call__(self, *_: object, **__: object) -> list[object]:
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("verb", [verb for verb, (_, told) in VERBS.items() if is_listed(told)])
def test_a_list_of_nothing_is_told_in_a_sentence(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "Client", lambda *_, **__: Nothing())
    words = [*verb.split(), *VERBS[verb][0]]
    assert json.loads(call(*words, "--json").stdout) == []
    done = call(*words)
    assert is_sentence(done.stdout), done.output


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_its_error(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Client", Away)
    words, _ = VERBS[verb]
    done = call(*verb.split(), "--json", *words)
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "error": {"kind": "broker", "message": "Redis is away\u202e."}
    }
    assert "\u202e" not in done.stdout
    plain = call(*verb.split(), *words)
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert "broker: Redis is away\\u202e." in plain.stderr


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["nothing", "--json"], "usage"),
        (["ask", "a", "--json"], "usage"),
        (["ask", "a", "b", "--bogus", "--json"], "usage"),
        (["sessions", "nothing", "--json"], "usage"),
    ],
)
def test_a_line_that_is_wrong(words: list[str], kind: str) -> None:
    done = call(*words)
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == kind
    assert error["message"]


def test_what_there_is_not_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Client", Served)
    monkeypatch.setattr(cli, "_known", lambda *_: False)
    done = call("cancel", "r", "--json")
    assert json.loads(done.stdout)["error"]["kind"] == "not_found"
    assert done.exit_code == 1


def test_an_input_that_looks_like_the_option_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Client", Away)
    assert call("ask", "--", "a", "--json").stdout == ""


def test_what_was_not_all_right_ends_with_1() -> None:
    @click.group(cls=Commands)
    def group() -> None:
        """Of one command."""

    @group.command(cls=Command)
    def look() -> Shown:
        return Shown([1], "one", ok=False)

    for words, told in ((["look"], "one\n"), (["look", "--json"], "[\n  1\n]\n")):
        done = CliRunner().invoke(group, words)
        assert (done.exit_code, done.stdout) == (1, told)
