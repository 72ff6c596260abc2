"""Mailboxes of actors: who is told something, and who is woken when it is answered."""

from __future__ import annotations

import pytest

from agents.plan import AwaitedAny
from app.journal import Journal
from app.journal.actors import store
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.actors.store import ActorStore
from app.journal.steps.expansions import ExpandStep
from celery_agents import names
from celery_agents.errors import IdInUseError
from tests.unit.app.journal.support import (
    OnPostgres,
    World,
    claimed,
    expand,
    ids,
    meanwhile,
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


class TestAmidAMove(OnPostgres):
    """An actor begins to wait for messages in the moment in which it is told one."""

    def test_one_look_suffices(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of hundreds that are told something at once, some move at each look."""
        monkeypatch.setattr(store, "_LOOKS", 1)
        claim = claimed(journal, "x", mail().new)
        wants = plan(kind="any").model_copy(update={"awaited": AwaitedAny(open=())})
        other = ActorStore(world.journal("other"))
        with world.engine.connect() as slow:
            ExpandStep.apply(slow, [ExpandStep(claim, wants, journal.rules)])
            with meanwhile(world, lambda: other.post([mail()])) as posted:
                slow.commit()
        assert ids(posted[0].wakes) == ["x"]
