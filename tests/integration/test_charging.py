"""A request under a breaker, limits and a budget: one write of Redis, and all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from agents.base import Answer, Turn
from agents.needs import Needs
from agents.policies.breaker import BreakerPolicy
from app.admission.breakers import Breakers, Switch, key_of
from app.admission.budgets.shared import SharedBudgets
from app.admission.guard import Asked, Reply
from app.admission.guards.admission import AdmissionGuard
from app.admission.limits.shared import SharedLimits
from app.admission.scripts import Query
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.execution.calls.calls import StepCalls
from app.journal import Journal
from celery_agents import names
from celery_agents.contracts.budgets import BudgetPolicy
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.errors import (
    BreakerOpenError,
    BudgetExceededError,
    JournalUnavailableError,
    NotAdmittedError,
)
from tests.support.entries import agent_of
from tests.unit.app.journal.support import SOON, World, claimed, step

pytestmark = pytest.mark.databases("sqlite")

NANO = 100_000_000
GUARDED = BreakerPolicy(failures=1, open_s=60.0)
SERVICE = {
    "kind": "http",
    "url": "http://127.0.0.1:9/ask",
    "breaker": {"failures": 1, "open_s": 60.0},
}


@pytest.fixture
def journal(sqlite_journal_url: str) -> Iterator[Journal]:
    world = World(sqlite_journal_url)
    yield world.journal()
    world.close()


class Desk:
    """Turns of one agent under a breaker, two limits and a budget of a dollar."""

    def __init__(self, redis: Redis, journal: Journal) -> None:
        self.redis = redis
        self.journal = journal
        self.breakers = Breakers(redis)
        self.scripts = self.breakers.scripts
        policies = {
            "slots": LimitPolicy(covers=("kind:http",), concurrent=2),
            "rate": LimitPolicy(covers=("kind:http",), requests_per_minute=60, burst_s=2.0),
        }
        alone: Callable[[], tuple[int, int]] = lambda: (0, 1)  # noqa: E731 - it is typed so
        self.limits = SharedLimits(self.scripts, policies, lease_s=7, standing=alone)
        budget = {"b": BudgetPolicy(usd=1)}
        self.budgets = SharedBudgets(self.scripts, budget, journal.ledger, lease_s=7)
        self.guard = AdmissionGuard(self.breakers, self.limits, self.budgets)
        self.agent = agent_of("service", lambda: None, None, SERVICE)
        self.asked: list[int] = []  # how many questions were handed in together
        run, run_all = self.scripts.run, self.scripts.run_all

        def counted(questions: Sequence[Query]) -> Future[list[Any]]:
            self.asked.append(len(questions))
            return run_all(questions)

        def counted_one(question: Query) -> Future[Any]:
            self.asked.append(1)
            return run(question)

        self.scripts.run_all = counted  # type: ignore[method-assign]  # it is looked at
        self.scripts.run = counted_one  # type: ignore[method-assign]

    def turn(self, name: str, costs: Sequence[int]) -> Any:
        """A turn of requests that cost so many nano-dollars each."""
        claim = claimed(self.journal, name, step(name))
        settings = SimpleNamespace(answer_limit_bytes=10**6)
        off = {"tracing": None, "metrics": None}
        calls = StepCalls(
            cast("Any", SimpleNamespace(journal=self.journal, settings=settings, **off)), claim
        )
        about = {"step_id": name, "run_id": name, "tenant": "", "priority": 5, "tries": 1}

        async def note(*_: Any) -> None:
            """Nobody looks."""

        of = SimpleNamespace(
            **about,
            allowance=None,
            asked_to_stop=False,
            note=note,
            limit=lambda passage: setattr(calls, "passage", passage),
            charge=lambda purse: setattr(calls, "purse", purse),
            enter=lambda gate: setattr(calls, "gate", gate),
        )

        async def go_on(_: Asked) -> Reply:
            for place, cost in enumerate(costs):
                answer = Answer.model_validate({"value": 1, "usage": {"cost_usd": cost / 1e9}})
                expected = Needs(1, 1, cost)
                about: Any = {"fingerprint": str(place), "expect": lambda: expected}  # noqa: B023
                await calls.make("http", lambda: answer, **about)  # noqa: B023 - at once
            return Answer(value=1)

        asked = Asked(self.agent, Turn(input=1), cast("Any", of))

        async def done() -> Reply:
            try:
                return await self.guard(asked, go_on)
            finally:
                calls.written()
                # A backup that answers in its place passes no limits of this one.
                assert (calls.passage, calls.gate) == (None, None)

        return process_loop().submit(done()).result(SOON)

    @property
    def held(self) -> tuple[int, int]:
        """Slots in use, and nano-dollars reserved."""
        self.scripts.run_all([]).result(SOON)  # what was told is told
        (told,) = self.limits.look([[["S:slots"], [], [], [""]]]).result(SOON)
        reserved = self.redis.hget(f"{names.BUDGET_KEYS}b@0", "h1")
        return told[0], int(cast("Any", reserved) or 0)


@pytest.fixture
def desk(redis: Redis, journal: Journal) -> Desk:
    made = Desk(redis, journal)
    made.turn("warm", [1])  # scripts, and the account, are known from here on
    made.asked.clear()
    return made


def test_all_of_a_turn_s_first_request_is_asked_in_one_write(desk: Desk) -> None:
    desk.turn("one", [NANO])
    assert desk.asked == [3, 1, 1, 1]  # budget, breaker and limits are asked, and each is told


def test_a_later_request_is_asked_in_one_write_too(desk: Desk) -> None:
    desk.turn("two", [NANO, NANO])
    assert sorted(desk.asked, reverse=True) == [3, 2, 1, 1, 1, 1, 1]  # the breaker is the turn's


def test_a_spent_budget_takes_nothing_of_the_limits(desk: Desk) -> None:
    for number in range(5):
        with pytest.raises(BudgetExceededError):
            desk.turn(f"much {number}", [20 * NANO])
    assert desk.held == (0, 0)
    desk.turn("little", [NANO])  # the rate had room for two


@pytest.mark.parametrize("budgets", [True, False])
def test_an_open_breaker_reserves_nothing(desk: Desk, *, budgets: bool) -> None:
    if not budgets:
        desk.guard = AdmissionGuard(desk.breakers, desk.limits)
    switch = Switch(desk.agent.target, GUARDED)
    desk.breakers.tell([switch], "x", ["bad"]).result(SOON)
    for number in range(5):
        with pytest.raises(BreakerOpenError):
            desk.turn(f"spared {number}", [NANO])
    assert desk.held == (0, 0)
    desk.redis.delete(key_of(switch))
    desk.turn("little", [NANO])  # the rate had room for two


@pytest.mark.parametrize("budgets", [True, False])
def test_an_open_breaker_gives_nothing_back_that_a_limit_refused(
    desk: Desk, *, budgets: bool
) -> None:
    """Both are asked in one write, and others have used the rate: it would be theirs again."""
    rate = LimitPolicy(covers=("kind:http",), requests_per_minute=1, burst_s=120.0)
    alone: Callable[[], tuple[int, int]] = lambda: (0, 1)  # noqa: E731 - it is typed so
    desk.limits = SharedLimits(desk.scripts, {"slow": rate}, lease_s=7, standing=alone)
    desk.guard = AdmissionGuard(desk.breakers, desk.limits, desk.budgets if budgets else None)
    for number in range(2):
        desk.turn(f"first {number}", [1])
    switch = Switch(desk.agent.target, GUARDED)
    desk.breakers.tell([switch], "x", ["bad"]).result(SOON)
    for number in range(3):
        with pytest.raises(BreakerOpenError):
            desk.turn(f"spared {number}", [1])
    desk.redis.delete(key_of(switch))
    with pytest.raises(NotAdmittedError, match="limit slow"):
        desk.turn("later", [1])


def test_a_turn_that_asks_nothing_leaves_no_gate_behind(desk: Desk) -> None:
    desk.turn("silent", [])
    assert desk.asked == []
    assert desk.held == (0, 0)


def test_a_limit_that_refuses_reserves_nothing(desk: Desk) -> None:
    desk.limits.pause(["limit:slots"], 60).result(SOON)
    with pytest.raises(NotAdmittedError, match="limit slots"):
        desk.turn("waits", [NANO])
    assert desk.held == (0, 0)
    spent = desk.journal.ledger.standing(("b", 0), None)
    assert (spent.spent.calls, spent.holdings) == (1, ())


@pytest.mark.parametrize("there", [True, False])
def test_a_row_of_which_nobody_knows_whether_it_is_there_reserves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """The journal's connection is lost while the row is committed."""
    start = desk.journal.start_call

    def lost(*about: Any, **more: Any) -> Future[Any]:
        if there:
            start(*about, **more).result(SOON)
        reply: Future[Any] = Future()
        reply.set_exception(JournalUnavailableError("The connection was lost."))
        return reply

    monkeypatch.setattr(desk.journal, "start_call", lost)
    with pytest.raises(JournalUnavailableError):
        desk.turn("lost", [1])
    assert desk.journal.ledger.standing(("b", 0), None).holdings == ()
    assert desk.held == (0, 0)
