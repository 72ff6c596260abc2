"""Redis' copy of budgets against the journal, whatever is lost, killed or told twice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import delete

from agents.governance.budgets import Account, Accounts, Amount
from app.admission.budgets.lua import CLOSED_MS
from app.admission.budgets.shared import LATE_S, Closed, Exceeded, SharedBudgets, Unknown, name_of
from app.admission.scripts import Scripts
from app.journal import Journal
from app.journal.schema.engine import connect
from app.journal.schema.models import Run, Spend
from app.journal.steps.spending import AccountState, CallKey, Reserved, Settled
from app.journal.stores.ledger import Ledger
from celery_agents import names
from celery_agents.contracts.budgets import BudgetPolicy
from tests.support.apart import apart
from tests.support.drawn import costly
from tests.unit.app.journal.support import SOON, World, claimed, step

pytestmark = pytest.mark.databases("both")

#: Time as the test says it.
STOPPED = "local now = tonumber(redis.call('GET', 'now'))\n"
LEASE_S, BOUND = 7.0, 60
#: Processes that meet.
MET = costly(20, part=3)
#: Met by many at once.
ACCOUNT = Account("b", "", (10**9, None, None))


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    made = World(database_url)
    yield made
    made.close()


@pytest.fixture
def journal(world: World) -> Journal:
    return world.journal()


def shared(redis: Redis, ledger: Ledger) -> SharedBudgets:
    policies = {"b": BudgetPolicy(usd=1)}
    return SharedBudgets(Scripts(redis), policies, ledger, lease_s=LEASE_S, clock=STOPPED)


@pytest.fixture
def budgets(redis: Redis, journal: Journal) -> SharedBudgets:
    """One for all examples: each has a thread, which does not end."""
    return shared(redis, journal.ledger)


@dataclass
class Call:
    """A call on its way: reserved, written down, made, over, told."""

    seq: int
    amount: Amount
    asked_ms: int
    stage: str = "reserved"
    cost: Amount = field(default_factory=Amount)


class Model:
    """Workers that spend one budget, one step of one call at a time."""

    def __init__(
        self, redis: Redis, world: World, journal: Journal, budgets: SharedBudgets
    ) -> None:
        self.redis = redis
        self.world = world
        self.journal = journal
        self.budgets = budgets
        name = uuid.uuid4().hex
        self.claim = claimed(self.journal, name, step(name))
        self.account = Account(name, "", (BOUND, None, None))
        self.place = (name, 0)
        self.booked = ((name, 0, None),)
        self.calls: list[Call] = []
        self.paid: dict[CallKey, int] = {}  # what providers have got
        self.next = 0
        self.now = 1_700_000_000_000
        redis.flushdb()
        self.pass_(0)

    def pass_(self, ms: int) -> None:
        """Let time pass."""
        self.now += ms
        self.redis.set("now", self.now)

    def key(self, call: Call) -> CallKey:
        return self.claim.id, call.seq, self.claim.token

    def said(self, call: Call) -> Any:
        who = name_of(self.key(call))
        return self.budgets.ask(who, [self.account], call.amount).result(SOON)

    def reserved(self, call: Call) -> bool:
        """Reserve as a worker does."""
        for _ in range(10):
            call.asked_ms = self.now
            match self.said(call):
                case Closed(seconds):
                    self.pass_(round(seconds * 1000))
                case Unknown(((_, of),)):
                    self.budgets.seed(self.account, of).result(SOON)
                case Exceeded():
                    return False
                case None:
                    return True
        raise AssertionError("it is never open")

    # -- what happens

    def ask(self, n: int) -> None:
        call = Call(self.claim_seq(), Amount(1 + n % 20, 0, 1), self.now)
        if self.reserved(call):
            self.calls.append(call)

    def claim_seq(self) -> int:
        self.next += 1
        return self.next

    def go_on(self, n: int) -> None:
        """One of the calls goes one step further."""
        if not self.calls:
            return
        call = self.calls[n % len(self.calls)]
        match call.stage:
            case "reserved":
                self._write(call)
            case "written":
                call.cost = Amount(n % (call.amount.nano_usd + 1), 0, 1)
                self.paid[self.key(call)] = call.cost.nano_usd
                call.stage = "made"
            case "made":
                self._finish(call, call.cost)
                call.stage = "over"
            case "over":
                self._tell(call)

    def _write(self, call: Call) -> None:
        reserved = Reserved(call.amount, self.booked)
        about = (call.seq, "model", f"f{self.account.budget}{call.seq}", str(uuid.uuid4()))
        self.journal.start_call(self.claim, *about, reserved=reserved).result(SOON)
        late = self.now - call.asked_ms > 1000 * LATE_S
        if late and not self.reserved(call):
            self._finish(call, Amount())
            self._tell(call)
            return
        call.stage = "written"

    def _finish(self, call: Call, cost: Amount) -> None:
        call.cost = cost
        settled = Settled(cost, self.booked, self.journal.me.id)
        end = (self.claim, call.seq, {"value": 1}, None)
        self.journal.finish_call(*end, cost_usd=cost.nano_usd / 1e9, settled=settled).result(SOON)

    def _tell(self, call: Call, *, gone: bool = True) -> None:
        who = name_of(self.key(call))
        self.budgets.tell(who, Accounts([self.account]), call.cost).result(SOON)
        if gone:
            self.calls.remove(call)

    def tell_twice(self, n: int) -> None:
        over = [call for call in self.calls if call.stage == "over"]
        if over:
            self._tell(over[n % len(over)], gone=False)

    def kill(self, n: int) -> None:
        """A call is heard of no more, wherever it is."""
        if self.calls:
            del self.calls[n % len(self.calls)]

    def take_over(self, _: int) -> None:
        """Their worker dies, and another one goes on with their step: they are in doubt."""
        self.calls.clear()
        self.claim = replace(self.claim, token=self.claim.token + 1)
        self.world.set(self.claim.id, token=self.claim.token)

    def release(self, _: int) -> None:
        """People say that what is in doubt was not spent, be that so or not."""
        for freed in self.journal.ledger.release(self.account.budget, None):
            self.paid.pop(freed.key, None)

    def wipe(self, _: int) -> None:
        self.redis.flushdb()
        self.pass_(0)

    def lose(self, n: int) -> None:
        """Redis begins anew without the last things that it was told."""
        key = f"{names.BUDGET_KEYS}{self.account.key}"
        fields: Any = self.redis.hkeys(key)
        held = [f for f in fields if f.startswith(b"x")]
        if held:
            self.redis.hdel(key, held[n % len(held)])
        self.redis.script_flush()

    def wait(self, n: int) -> None:
        self.pass_(100 * (n % 40))

    def mend(self, _: int) -> None:
        self.pass_(2100)
        self.budgets.reconcile()

    def check(self) -> None:
        found = self.journal.ledger.standing(self.place, None)
        held = sum(h.amount.nano_usd for h in found.holdings)
        assert found.spent.nano_usd + held >= sum(self.paid.values()), "more was paid than counted"
        assert found.spent.nano_usd + held <= BOUND, "more was reserved than there is"
        known: Any = self.redis.hget(f"{names.BUDGET_KEYS}{self.account.key}", "1")
        assert int(known or 0) <= found.spent.nano_usd, "Redis has more than the journal"

    def end(self) -> None:
        """All that lives ends; then Redis says what the journal says."""
        while self.calls:
            self.go_on(0)
        self.pass_(round(4000 * LEASE_S))
        self.budgets.reconcile()
        self.pass_(CLOSED_MS)
        probe = Call(self.claim_seq(), Amount(), self.now)
        assert self.reserved(probe)
        self._tell(probe, gone=False)
        self.mend(0)
        found = self.journal.ledger.standing(self.place, None)
        held = sum(h.amount.nano_usd for h in found.holdings)
        doubted = sum(h.amount.nano_usd for h in found.holdings if h.doubtful)
        key = f"{names.BUDGET_KEYS}{self.account.key}"
        copy = [int(n or 0) for n in self.redis.hmget(key, "1", "h1", "d1", "n")]
        assert copy == [found.spent.nano_usd, held, doubted, len(found.holdings)]

    def leave(self) -> None:
        """Delete what others have left: each look at an account reads all that is reserved.

        So the next example is beside this one, and costs no more than it.
        """
        with self.world.engine.begin() as c:
            c.execute(delete(Run).where(Run.id != self.claim.id))
            c.execute(delete(Spend).where(Spend.account != self.account.budget))


ACTIONS = ["ask", "ask", "ask", "go_on", "go_on", "go_on", "go_on", "tell_twice", "kill", "wipe"]
ACTIONS += ["lose", "wait", "mend", "take_over", "release"]


@pytest.mark.timeout(3_600)  # in full
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=costly(3_000, part=75),
)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1000)), max_size=40))
def test_never_above_never_under_counted_and_the_copy_is_the_journal(
    redis: Redis,
    world: World,
    journal: Journal,
    budgets: SharedBudgets,
    actions: list[tuple[str, int]],
) -> None:
    journal.beat()  # its lease lasts as long as the test, however many examples there are
    model = Model(redis, world, journal, budgets)
    for action, n in actions:
        getattr(model, action)(n)
        model.check()
    model.end()
    model.leave()


amounts = st.builds(
    Amount,
    st.one_of(st.integers(0, 40), st.integers(0, 9 * 10**15)),
    st.integers(0, 9),
    st.just(1),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 5), amounts, amounts), max_size=12),
    st.sampled_from([100, 9 * 10**15]),
)
def test_what_goes_in_one_write_is_as_one_by_one(
    redis: Redis, budgets: SharedBudgets, calls: list[tuple[int, Amount, Amount]], bound: int
) -> None:
    redis.flushdb()
    redis.set("now", 1_700_000_000_000)
    run_all = budgets._scripts.run_all
    both = {name: Accounts([Account(name, "", (bound, 20, None))]) for name in ("one", "many")}
    redis.set(f"{names.BUDGET_KEYS}since", 1_600_000_000_000)
    for accounts in both.values():
        budgets.seed(accounts[0], "1600000000000/").result(SOON)
    asks = [[budgets.asking(f"s/{n}/1", of, a) for n, a, _ in calls] for of in both.values()]
    ends = [[telling(budgets, f"s/{n}/1", of, a) for n, _, a in calls] for of in both.values()]
    for one, many in (asks, ends):
        expected = [run_all([question]).result(SOON)[0] for question in one]
        assert (run_all(many).result(SOON) if many else []) == expected
        copies = [redis.hgetall(f"{names.BUDGET_KEYS}{of[0].key}") for of in both.values()]
        assert copies[0] == copies[1]


def test_what_is_nothing_goes_along_with_what_numbers_of_lua_do_not_hold(
    redis: Redis, budgets: SharedBudgets
) -> None:
    redis.set("now", 1_700_000_000_000)
    accounts = Accounts([Account("b", "", (2**60, 9, 9))])
    budgets.reconcile()  # Redis knows the scripts from here on
    redis.set(f"{names.BUDGET_KEYS}since", 1_600_000_000_000)
    budgets.seed(accounts[0], "1600000000000/").result(SOON)
    amounts = [Amount(2**54, 0, 1), Amount(0, 1, 1)]
    asks = [budgets.asking(f"s/{n}/1", accounts, one) for n, one in enumerate(amounts)]
    assert budgets._scripts.run_all(asks).result(SOON) == [None, None]
    ends = [telling(budgets, f"s/{n}/1", accounts, one) for n, one in enumerate(amounts)]
    budgets._scripts.run_all(ends).result(SOON)
    key = f"{names.BUDGET_KEYS}{accounts[0].key}"
    found = [int(n or 0) for n in redis.hmget(key, "1", "2", "3", "h1", "h2", "h3", "n")]
    assert found == [2**54, 1, 2, 0, 0, 0, 0]


def test_thousands_that_are_in_doubt_are_noted(redis: Redis, budgets: SharedBudgets) -> None:
    """Many workers were killed at once; Lua takes no more than some thousands of words in one."""
    redis.set("now", 1_700_000_000_000)
    accounts = Accounts([ACCOUNT])
    budgets.reconcile()  # Redis knows the scripts from here on
    redis.set(f"{names.BUDGET_KEYS}since", 1_600_000_000_000)
    budgets.seed(ACCOUNT, "1600000000000/").result(SOON)
    ids = [f"s/{n}/1" for n in range(9_000)]
    for start in range(0, len(ids), 100):
        some = [budgets.asking(who, accounts, Amount(1, 0, 1)) for who in ids[start : start + 100]]
        assert budgets._scripts.run_all(some).result(SOON) == [None] * 100
    budgets.doubt(ACCOUNT.key, ids)
    found = redis.hmget(f"{names.BUDGET_KEYS}{ACCOUNT.key}", "d1", "d3", "h1")
    assert [int(n or 0) for n in found] == [9_000] * 3


def telling(budgets: SharedBudgets, who: str, accounts: Accounts, spent: Amount) -> Any:
    """The question by which a reservation is settled."""
    told = list[Any]()
    budgets.run = told.append  # type: ignore[method-assign, assignment]
    try:
        budgets.tell(who, accounts, spent)
    finally:
        del budgets.run
    return told[0]


def test_who_is_late_while_redis_begins_anew_again_does_not_call_unseen(
    redis: Redis, world: World, journal: Journal, budgets: SharedBudgets
) -> None:
    model = Model(redis, world, journal, budgets)
    model.ask(19)  # of 20 each: three are all that there is
    model.ask(19)
    for _ in range(2):
        model.go_on(0)
        model.calls.append(model.calls.pop(0))
    model.ask(19)  # reserved, and not written down when Redis forgets it
    lost = model.calls[-1]
    model.wipe(0)
    model.ask(19)  # nobody knows of that one: it gets the last 20
    model.wipe(0)
    for call in (lost, model.calls[-1]):
        model.go_on(model.calls.index(call))
        model.check()
    model.end()


def test_what_was_read_before_others_made_a_copy_and_forgot_it_is_none(
    redis: Redis, world: World, journal: Journal, budgets: SharedBudgets
) -> None:
    """Whoever reads the journal is frozen between that and the copy."""
    model, ledger = Model(redis, world, journal, budgets), budgets.ledger

    def standing(*about: Any) -> AccountState:
        budgets.ledger = ledger
        found = ledger.standing(*about)
        model.ask(19)  # of 20 each: three are all that there is
        model.go_on(0)
        model.ask(19)
        model.kill(1)  # before its row is written
        model.pass_(round(4000 * LEASE_S))
        budgets.reconcile()
        return found

    budgets.ledger = cast("Ledger", SimpleNamespace(standing=standing))
    model.ask(19)
    assert budgets.ledger is ledger
    model.ask(19)
    model.ask(19)
    for place in range(1, len(model.calls)):  # all that are not written down yet
        model.go_on(place)
        model.check()
    model.end()


def meet(redis_url: str, database_url: str, number: int, begin: Barrier) -> None:
    """One process that reserves in an account which all begin at the same moment."""
    journal = connect(database_url)
    with Redis.from_url(redis_url, socket_timeout=None) as own:
        budgets = shared(own, Ledger(journal))
        who = name_of(("other", number, 1))
        begin.wait(120)
        while (said := budgets.ask(who, [ACCOUNT], Amount(1, 0, 1)).result(SOON)) is not None:
            assert isinstance(said, Unknown)
            ((_, of),) = said.copies
            budgets.seed(ACCOUNT, of).result(SOON)
    journal.dispose()


@contextmanager
def processes(number: int, *about: str) -> Iterator[Sequence[BaseProcess]]:
    """So many that meet; all are made of one that has imported this, and none before all are."""
    begin = apart.Barrier(number)
    made = [apart.Process(target=meet, args=(*about, n, begin)) for n in range(number)]
    try:
        for process in made:
            process.start()
        yield made
    finally:
        for process in made:
            process.kill()
            process.join()


def test_many_processes_meet_one_cold_account(
    redis_url: str, database_url: str, journal: Journal
) -> None:
    claim = claimed(journal, "s", step("s"))
    booked = (("b", 0, None),)
    for seq in range(30):
        reserved = Reserved(Amount(100, 0, 1), booked)
        journal.start_call(claim, seq, "m", f"f{seq}", f"k{seq}", reserved=reserved).result(SOON)
        if seq < 20:
            settled = Settled(Amount(70, 0, 1), booked, journal.me.id)
            end = (claim, seq, {"value": 1}, None)
            journal.finish_call(*end, cost_usd=7e-8, settled=settled).result(SOON)

    with Redis.from_url(redis_url) as redis:
        redis.set(f"{names.BUDGET_KEYS}since", 1_000_000)
        redis.set("now", 2_000_000)
        shared(redis, journal.ledger).reconcile()  # it knows the scripts from here on
        redis.set(f"{names.BUDGET_KEYS}since", 1_000_000)
        with processes(MET, redis_url, database_url) as met:
            for process in met:
                process.join()
            assert [process.exitcode for process in met] == [0] * MET
        found = redis.hmget(f"{names.BUDGET_KEYS}{ACCOUNT.key}", "1", "h1", "n")
    assert [int(n or 0) for n in found] == [20 * 70, 10 * 100 + MET, 10 + MET]
