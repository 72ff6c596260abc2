"""Mailboxes of actors: who is told something, and who is woken when it is answered."""

from __future__ import annotations

import pytest

from app.journal import Journal
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.actors.store import ActorStore
from celery_agents import names
from celery_agents.errors import IdInUseError
from tests.unit.app.journal.support import World, claimed, expand, ids, plan, step


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
