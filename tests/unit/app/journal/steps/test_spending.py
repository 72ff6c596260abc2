"""Reservations and sums of budgets in the journal."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from agents.governance.budgets import Amount
from app.journal import Journal
from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.schema.models import Call, Run, Spend, Step
from app.journal.schema.rows import Claimed
from app.journal.steps.calls import Begun, FinishCall, StartCall
from app.journal.steps.spending import AccountState, Holding, Reserved, Settled
from celery_agents.contracts.outcome import ErrorInfo
from tests.unit.app.journal.support import DONE, SOON, World, batch, claimed, step

COMPANY, CUSTOMER, RUN = ("company", 0), ("customer:acme", 1_990_000_000), (":r", 0)
BOOKED = ((*COMPANY, None), (*CUSTOMER, 1_990_086_400))
ALL = (*BOOKED, (*RUN, None))
ASKED = Amount(90, 30, 1)


def reserved(amount: Amount = ASKED) -> Reserved:
    return Reserved(amount, ALL)


def start(journal: Journal, claim: Claimed, seq: int = 0, **how: Any) -> Any:
    about = (seq, "model", f"f{seq}", f"key{claim.id}{seq}")
    return journal.start_call(claim, *about, reserved=reserved(), **how).result(SOON)


def finish(journal: Journal, claim: Claimed, amount: Amount, seq: int = 0) -> None:
    settled = Settled(amount, BOOKED, journal.me.id)
    end = (claim, seq, {"value": 1}, None)
    journal.finish_call(*end, cost_usd=amount.nano_usd / 1e9, settled=settled).result(SOON)


def state(journal: Journal, place: Any = COMPANY) -> AccountState:
    return journal.ledger.standing(place, place[0].removeprefix(":") if place == RUN else None)


@pytest.mark.parametrize("once", [False, True])
def test_a_call_reserves_and_its_end_books(journal: Journal, once: bool) -> None:
    claim = claimed(journal, "r", step("r"))
    assert start(journal, claim, once=once) is Begun.YES
    held = Holding(("r", 0, 1), ASKED, ALL, doubtful=False)
    for place in (COMPANY, CUSTOMER, RUN):
        assert state(journal, place) == AccountState(Amount(), (held,))
    assert journal.ledger.fates([held.key, ("r", 7, 1)]) == {held.key: held}
    for _ in range(2):  # what is written again is booked once
        finish(journal, claim, Amount(40, 20, 1))
    for place in (COMPANY, CUSTOMER, RUN):
        assert state(journal, place) == AccountState(Amount(40, 20, 1), ())
    assert journal.ledger.fates([held.key]) == {held.key: Amount(40, 20, 1)}


def test_the_ordinary_way_does_the_same(world: World, journal: Journal) -> None:
    claims = [claimed(journal, i, step(i)) for i in "ab"]
    calls = [StartCall(c, 0, "model", "f", f"k{c.id}", reserved=reserved()) for c in claims]
    assert batch(journal, *calls) == [Begun.YES, Begun.YES]
    assert len(state(journal).holdings) == 2
    settled = Settled(Amount(5, 1, 1), BOOKED, journal.me.id)
    ends = [FinishCall(c, 0, {"value": 1}, cost_usd=5e-9, settled=settled) for c in claims]
    batch(journal, *ends)
    batch(journal, *ends)
    assert state(journal) == AccountState(Amount(10, 2, 2), ())


def test_each_process_books_rows_of_its_own(world: World, journal: Journal) -> None:
    others = [journal, world.journal("other@here", host="elsewhere")]
    for number, one in enumerate(others):
        claim = claimed(one, f"s{number}", step(f"s{number}"))
        for seq in range(2):
            start(one, claim, seq)
            finish(one, claim, Amount(10, 1, 1), seq)
    with world.engine.connect() as c:
        rows = c.execute(select(Spend.__table__).where(Spend.account == "company")).all()
    assert sorted((row.writer, row.nano_usd, row.calls) for row in rows) == sorted(
        (one.me.id, 20, 2) for one in others
    )
    assert state(journal).spent == Amount(40, 4, 4)


def test_what_was_refused_has_cost_nothing(journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    start(journal, claim)
    told = ErrorInfo(kind="rate_limited", message="no", retryable=True)
    settled = Settled(Amount(), BOOKED, journal.me.id)
    journal.finish_call(claim, 0, None, told, cost_usd=0.0, settled=settled).result(SOON)
    assert state(journal) == state(journal, RUN) == AccountState(Amount(), ())


def test_a_call_without_a_budget_writes_no_column(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    journal.start_call(claim, 0, "model", "f", "k").result(SOON)
    journal.finish_call(claim, 0, {"value": 1}).result(SOON)
    (call,) = world.calls("r")
    assert (call.reserved_nano_usd, call.counted_tokens, call.accounts) == (None, None, None)
    assert journal.ledger.fates([("r", 0, 1)]) == {}


def test_who_lost_its_step_reserves_nothing(world: World, journal: Journal) -> None:
    late = claimed(journal, "r", step("r"))
    world.end_lease(journal)
    claimed(world.journal("other"), "r")
    assert start(journal, late) is Begun.LOST
    assert state(journal) == AccountState(Amount(), ())


def test_a_dead_worker_s_call_is_in_doubt_until_it_is_released(
    world: World, journal: Journal
) -> None:
    claim = claimed(journal, "r", step("r"))
    start(journal, claim)
    assert journal.ledger.release("company", None) == []  # it is under way
    world.end_lease(journal)
    (held,) = state(journal).holdings
    assert held.doubtful
    other = world.journal("other")
    again = claimed(other, "r")
    start(other, again)
    doubts = {h.key: h.doubtful for h in state(journal).holdings}
    assert doubts == {held.key: True, ("r", 0, 2): False}
    for name, subject in (("nobody", None), ("customer", "other"), ("company", "acme")):
        assert journal.ledger.release(name, subject) == []
    assert [h.key for h in journal.ledger.release("customer", "acme")] == [held.key]
    assert journal.ledger.release("company", None) == []
    assert [h.key for h in state(journal).holdings] == [("r", 0, 2)]
    assert journal.ledger.fates([held.key]) == {held.key: Amount()}
    finish(journal, claim, Amount(40, 20, 1))  # it lived after all, and has paid
    assert state(journal).spent == Amount(40, 20, 1)


@pytest.mark.databases("both")
def test_cleaning_books_what_is_in_doubt_before_it_deletes(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    start(journal, claim)
    journal.finish(claim, DONE).result(SOON)
    with world.engine.begin() as c:
        c.execute(update(Step).values(settled=True))
        c.execute(update(Run).values(created_at=0.0, finished_at=1.0))
    (held,) = state(journal).holdings
    assert held.doubtful
    keep = Retention(1.0, 1.0, 1.0)
    clean_journal(world.engine, keep, batch=10, sleep=lambda _: None)
    assert world.calls("r") == []
    for place in (COMPANY, CUSTOMER):
        assert state(journal, place) == AccountState(ASKED, ())


@pytest.mark.databases("both")
def test_only_what_is_reserved_stands_in_the_index(world: World, journal: Journal) -> None:
    (index,) = [i for i in Call.__table__.indexes if i.name == "ix_calls_reserved"]  # type: ignore[attr-defined]  # of a table
    where = index.dialect_options[world.engine.dialect.name]["where"]
    assert "finished_at" not in str(where)  # it would cost each call's end an entry
