"""Mailboxes of actors: who is told something, and who is woken when it is answered."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import text

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.actors import mailboxes
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.actors.store import ActorStore
from app.journal.schema import locks
from app.journal.schema.rows import Claimed
from app.journal.schema.transactions import in_transaction
from celery_agents import names
from celery_agents.errors import IdInUseError
from tests.unit.app.journal.support import (
    SOON,
    OnPostgres,
    World,
    before,
    claimed,
    expand,
    ids,
    plan,
    step,
)


def mail(**about: str) -> Mail:
    new = step("x", **{"task": names.FLOW, "agent": "actor/Account", "tenant": "acme", **about})
    value = {"id": "m", "wanted": False, "chain": [], "message": {}}
    return Mail(new, [MailboxEntry("m", {"name": "deposit", "value": value})])


def test_only_a_step_that_calls_an_actor_is_woken(world: World, journal: Journal) -> None:
    """Whoever writes an answer may have been given any id."""
    expand(journal, "p", plan("a"))
    assert world.row("p").state == "waiting"
    assert ids(ActorStore(journal).wake("p").wakes) == []
    assert world.row("p").state == "waiting"
    world.set("p", task=names.CALL)
    assert ids(ActorStore(journal).wake("p").wakes) == ["p"]


@pytest.mark.parametrize(
    "other", [{"task": "agents.ask"}, {"agent": "refund"}, {"tenant": "other"}]
)
def test_what_is_no_actor_of_that_tenant_is_told_nothing(
    world: World, journal: Journal, other: dict[str, str]
) -> None:
    claimed(journal, "x", mail(**other).new)
    with pytest.raises(IdInUseError):
        ActorStore(journal).post([mail()])
    world.set("x", task=names.FLOW, agent="actor/Account", tenant="acme")
    ActorStore(journal).post([mail()])


def rests(journal: Journal, claim: Claimed) -> bool:
    what = Expand(join=JoinPolicy(kind="any"), awaited=AwaitedAny())
    return journal.expand(claim, what).result(SOON).applied


class TestOneThatBeginsToWaitMeanwhile(OnPostgres):
    """For the first time, so its join is younger than the look for joins to be locked."""

    def test_it_is_told_and_woken_at_once(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = claimed(journal, "x", mail().new)
        rested = before(monkeypatch, locks, "lock_steps", lambda: rests(journal, claim))
        posted = in_transaction(world.engine, lambda c: mailboxes.post(c, [mail()], journal.rules))
        assert (rested, posted.again, ids(posted.aftermath.wakes)) == ([True], False, ["x"])
        assert (world.row("x").state, world.join("x").state) == ("ready", "fired")

    def test_whoever_holds_its_join_is_not_waited_for(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """He may wait for its row, which is held here."""
        claim = claimed(journal, "x", mail().new)
        with world.engine.connect() as other:

            def held() -> bool:
                rests(journal, claim)
                other.execute(text("SELECT step_id FROM joins WHERE step_id = 'x' FOR UPDATE"))
                return True

            assert before(monkeypatch, locks, "lock_steps", held) == []
            give = partial(mailboxes.post, mails=[mail()], rules=journal.rules)
            assert in_transaction(world.engine, give).again
            assert world.row("x").state == "waiting"
        assert ids(ActorStore(journal).post([mail()]).wakes) == ["x"]

    def test_nor_is_whoever_holds_that_of_one_who_waits_for_an_answer(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = claimed(journal, "x", step("x", task=names.CALL))
        with world.engine.connect() as other:

            def held() -> bool:
                rests(journal, claim)
                other.execute(text("SELECT step_id FROM joins WHERE step_id = 'x' FOR UPDATE"))
                return True

            assert before(monkeypatch, locks, "lock_steps", held) == []
            give = partial(mailboxes.wake_caller, step_id="x", rules=journal.rules)
            assert in_transaction(world.engine, give).again
            assert world.row("x").state == "waiting"
        assert ids(ActorStore(journal).wake("x").wakes) == ["x"]
