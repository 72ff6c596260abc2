"""The bounds of a team, counted where its members are made."""

from __future__ import annotations

from typing import Any

import pytest

from agents.plan import Expand
from app.journal import Journal
from app.journal.schema.rows import Claimed, derived_id
from app.journal.steps.caps import Caps
from app.journal.steps.expansions import Expanded
from celery_agents.contracts.outcome import State
from celery_agents.errors import LimitReachedError
from tests.unit.app.journal.support import DONE, SOON, World, member, step

FEW = Caps(depth=2, steps=6, handoffs=2)


@pytest.fixture
def journal(world: World) -> Journal:
    made = world.journal()
    made.rules = type(made.rules)(made.rules.decided, made.rules.wake_grace_s, caps=FEW)
    return made


def claim(journal: Journal, step_id: str, new: Any = None) -> Claimed:
    found = journal.claim(step_id, new).result(SOON)
    assert isinstance(found, Claimed), found
    return found


def ask(journal: Journal, asking: Claimed, *keys: str, **more: Any) -> Expanded:
    plan = Expand(members=tuple(member(k, **more) for k in keys), team=True)
    return journal.expand(asking, plan).result(SOON)


def outcomes(journal: Journal, asking: Claimed) -> dict[str, str | None]:
    """Why each member was not asked; None where it was."""
    return {
        m.key: None if m.outcome is None or m.outcome.error is None else m.outcome.error.message
        for m in journal.members(asking.id)
    }


def below(journal: Journal, asking: Claimed, key: str) -> Claimed:
    return claim(journal, derived_id(asking.id, key))


def test_how_deep(world: World, journal: Journal) -> None:
    root = claim(journal, "s", step())
    assert len(ask(journal, root, "ask:a").members) == 1
    first = below(journal, root, "ask:a")
    assert len(ask(journal, first, "ask:b").members) == 1
    second = below(journal, first, "ask:b")
    found = ask(journal, second, "ask:c")
    assert (found.members, [w.id for w in found.wakes]) == ([], [second.id])
    (why,) = outcomes(journal, second).values()
    assert why is not None
    assert "2 deep already, the limit (max_depth)" in why
    row = world.row(derived_id(second.id, "ask:c"))
    assert (row.state, row.settled, row.outcome["error"]["kind"]) == ("failed", True, "limit")
    again = claim(journal, second.id)  # it goes on, and hears of it
    assert journal.finish(again, DONE).result(SOON).applied


def test_how_many(journal: Journal) -> None:
    """Of all below, whoever asks; those for whom there is room are asked."""
    root = claim(journal, "s", step())
    ask(journal, root, "ask:a", "ask:b")
    first, second = (below(journal, root, key) for key in ("ask:a", "ask:b"))
    assert len(ask(journal, first, "ask:1", "ask:2", "ask:3").members) == 3
    found = ask(journal, second, "ask:1", "ask:2")
    assert [w.id for w in found.members] == [derived_id(second.id, "ask:1")]
    assert found.wakes == []  # one of them runs
    told = outcomes(journal, second)
    assert told["ask:1"] is None
    assert "asked 6 others, the limit (max_steps)" in str(told["ask:2"])
    taken = below(journal, second, "ask:1")
    after = journal.finish(taken, DONE).result(SOON)
    assert [w.id for w in after.wakes] == [second.id]


def test_who_asks_on_and_on_is_ended(journal: Journal) -> None:
    root = claim(journal, "s", step())
    ask(journal, root, *(f"ask:{n}" for n in range(8)))
    for n in range(6):
        journal.finish(below(journal, root, f"ask:{n}"), DONE).result(SOON)
    root = claim(journal, "s")
    assert ask(journal, root, *(f"ask:more{n}" for n in range(4))).applied
    root = claim(journal, "s")
    with pytest.raises(LimitReachedError, match="asks on"):
        ask(journal, root, "ask:last")


def test_how_often_a_conversation_is_handed_over(journal: Journal) -> None:
    """A handoff is not one deeper; what is asked between begins anew."""
    at = claim(journal, "s", step())
    for _ in range(2):
        assert len(ask(journal, at, "transfer_to_a/1").members) == 1
        at = below(journal, at, "transfer_to_a/1")
    assert ask(journal, at, "transfer_to_a/1").members == []
    (why,) = outcomes(journal, at).values()
    assert "handed over 2 times, the limit (max_handoffs)" in str(why)
    at = claim(journal, at.id)
    assert len(ask(journal, at, "ask:a").members) == 1
    at = below(journal, at, "ask:a")
    assert len(ask(journal, at, "transfer_to_a/1").members) == 1


def test_a_pattern_above_is_no_part_of_the_team(journal: Journal) -> None:
    root = claim(journal, "s", step(task="agents.gather"))
    journal.expand(root, Expand(members=tuple(member(str(n)) for n in range(9)))).result(SOON)
    for n in range(9):
        one = below(journal, root, str(n))
        assert len(ask(journal, one, *(f"ask:{m}" for m in range(6))).members) == 6


def test_wishes_are_not_counted(journal: Journal) -> None:
    root = claim(journal, "s", step())
    wishes = [member(f"@{n}", waits=True, task="agents.approval") for n in range(9)]
    plan = Expand(members=(*wishes, member("ask:a")), team=True)
    assert len(journal.expand(root, plan).result(SOON).members) == 1
    assert set(outcomes(journal, root).values()) == {None}


def test_a_cancelled_step_asks_nobody(world: World, journal: Journal) -> None:
    root = claim(journal, "s", step())
    ask(journal, root, "ask:a")
    first = below(journal, root, "ask:a")
    assert first.id in journal.cancel("s").cancels
    assert not ask(journal, first, "ask:b").applied
    assert [m.state for m in journal.members("s")] == [State.RUNNING]
    assert journal.members(first.id) == []
