"""The bounds of a team, counted where its members are made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as given_
from hypothesis import strategies as st

from agents.plan import Expand, Member, narrowed
from app.journal import Journal
from app.journal.schema.rows import Claimed, derived_id
from app.journal.steps.bounds import Bound
from app.journal.steps.caps import Caps
from app.journal.steps.expansions import Expanded
from app.journal.stores.bounds import Bounds
from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.outcome import State
from celery_agents.errors import LimitReachedError
from tests.unit.app.journal.support import DONE, FAILED, SOON, World, member, step

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


# -- bounds that a run was given


def given(journal: Journal, asking: Claimed, *wanted: Member, number: int = 0) -> Expanded:
    """Ask as an attempt does: bounded by the payload, with members that inherit it."""
    members = wanted or tuple(member(f"ask:{n}") for n in range(number))
    plan = Expand(members=members, team=asking.task == "agents.ask")
    caps = caps_of(asking)
    bounds = journal.bounds.of(asking, caps)
    return journal.expand(asking, narrowed(plan, caps), bounds=bounds).result(SOON)


def caps_of(claimed: Claimed) -> dict[str, Any]:
    return {n: c for n, c in claimed.payload["kwargs"].items() if n in CAPS}


def bounded(journal: Journal, *, task: str = "agents.ask", **caps: float) -> Claimed:
    payload = {"args": ["hello"], "kwargs": {"agent": "a", **caps}}
    return claim(journal, "s", step(payload=payload, task=task))


def with_options(key: str, **caps: float) -> Member:
    return member(key, options={"agent": "a", **caps})


def whys(journal: Journal, asking: Claimed) -> list[str]:
    return [why for why in outcomes(journal, asking).values() if why]


def pay(journal: Journal, claimed: Claimed, cost_usd: float | None, seq: int = 0) -> None:
    journal.start_call(claimed, seq, "model", f"i{seq}", f"k{seq}").result(SOON)
    journal.finish_call(claimed, seq, {"value": 1}, cost_usd=cost_usd).result(SOON)


def test_a_run_is_as_deep_as_it_was_given(journal: Journal) -> None:
    root = bounded(journal, max_depth=1)
    given(journal, root, number=1)
    first = below(journal, root, "ask:0")
    assert given(journal, first, number=1).members == []
    assert "1 deep already, the limit (max_depth)" in whys(journal, first)[0]


def test_a_wider_bound_than_that_of_the_settings_says_nothing(journal: Journal) -> None:
    root = bounded(journal, max_depth=9, max_steps=99, max_handoffs=9)
    assert len(given(journal, root, number=8).members) == FEW.steps


def test_a_member_may_be_given_less_but_not_more(journal: Journal) -> None:
    root = bounded(journal, max_steps=4)
    given(journal, root, with_options("few", max_steps=1), with_options("many", max_steps=50))
    few, many = (below(journal, root, key) for key in ("few", "many"))
    assert (caps_of(few), caps_of(many)) == ({"max_steps": 1}, {"max_steps": 4})
    assert len(given(journal, few, number=2).members) == 1
    assert "asked 1 others" in whys(journal, few)[0]
    assert given(journal, many, number=1).members == []  # with the one that was refused, four
    assert "asked 4 others" in whys(journal, many)[0]


def test_with_no_room_at_all_it_is_told_once(journal: Journal) -> None:
    root = bounded(journal, max_steps=0)
    assert given(journal, root, number=3).members == []
    assert len(whys(journal, root)) == 3
    with pytest.raises(LimitReachedError, match="asks on"):
        given(journal, claim(journal, "s"), member("ask:more"))


def test_how_many_each_of_them_asks(journal: Journal) -> None:
    """In all of its turns; each counts its own, and a handoff is none."""
    root = bounded(journal, max_width=2)
    assert len(given(journal, root, number=3).members) == 2
    assert whys(journal, root) == [
        "This agent has asked 2 others, the limit (max_width). It was not asked."
    ]
    one = below(journal, root, "ask:0")
    assert len(given(journal, one, member("transfer_to_a/1"), member("ask:0")).members) == 2
    one = ended(journal, one, "transfer_to_a/1", "ask:0")
    assert len(given(journal, one, member("ask:1"), member("ask:2")).members) == 1


def test_who_asks_on_too_wide_is_ended(journal: Journal) -> None:
    root = bounded(journal, max_width=1)
    given(journal, root, number=2)
    root = ended(journal, root, "ask:0")
    with pytest.raises(LimitReachedError, match="asks on, though its max_width"):
        given(journal, root, member("ask:more"))


def test_the_narrower_of_a_member_holds(journal: Journal) -> None:
    root = bounded(journal, max_width=3)
    given(journal, root, with_options("few", max_width=1), with_options("many", max_width=9))
    few, many = (below(journal, root, key) for key in ("few", "many"))
    assert len(given(journal, few, number=2).members) == 1
    assert caps_of(many) == {"max_width": 3}


def test_every_agent_may_ask_as_many_as_the_settings_say(journal: Journal) -> None:
    caps = Caps(depth=2, steps=6, handoffs=2, width=2)
    journal.rules = type(journal.rules)(
        journal.rules.decided, journal.rules.wake_grace_s, caps=caps
    )
    root = claim(journal, "s", step())
    assert len(ask(journal, root, "ask:a", "ask:b", "ask:c").members) == 2


def ended(journal: Journal, asking: Claimed, *keys: str) -> Claimed:
    """End these members; their parent's next claim."""
    for key in keys:
        journal.finish(below(journal, asking, key), DONE).result(SOON)
    return claim(journal, asking.id)


def test_handoffs_of_a_run(journal: Journal) -> None:
    root = bounded(journal, max_handoffs=1)
    given(journal, root, member("transfer_to_a/1"))
    at = below(journal, root, "transfer_to_a/1")
    assert given(journal, at, member("transfer_to_a/1")).members == []
    assert "handed over 1 times, the limit (max_handoffs)" in whys(journal, at)[0]


def test_the_bound_of_a_pattern_is_of_all_that_its_members_ask(journal: Journal) -> None:
    """Its own members, which its caller counted, are none of them."""
    root = bounded(journal, task="agents.gather", max_steps=3, max_depth=1)
    assert len(given(journal, root, number=5).members) == 5
    one, other = (below(journal, root, f"ask:{n}") for n in range(2))
    assert len(given(journal, one, number=2).members) == 2
    assert len(given(journal, other, number=2).members) == 1
    deeper = below(journal, one, "ask:0")
    assert given(journal, deeper, number=1).members == []
    assert "1 deep already" in whys(journal, deeper)[0]


def test_nobody_is_asked_once_the_run_has_cost_enough(journal: Journal) -> None:
    root = bounded(journal, max_cost=0.5)
    pay(journal, root, 0.25)
    given(journal, root, number=2)
    one, other = (below(journal, root, f"ask:{n}") for n in range(2))
    assert journal.bounds.spent_up(journal.bounds.of(one, caps_of(one))) is None
    pay(journal, one, None)  # of which nobody knows the price
    assert journal.bounds.spent_up(journal.bounds.of(one, caps_of(one))) is None
    pay(journal, other, 0.25)
    told = "The calls of this run have cost 0.5 USD, the limit is 0.5 (max_cost)"
    assert journal.bounds.spent_up(journal.bounds.of(one, caps_of(one))) == told
    assert given(journal, one, member("ask:a"), member("transfer_to_a/1")).members == []
    assert whys(journal, one) == [f"{told}. It was not asked."] * 2


def test_a_pattern_asks_no_further_round_once_it_has_cost_enough(journal: Journal) -> None:
    root = bounded(journal, task="agents.fallback", max_cost=0.5)
    given(journal, root, member("a"))
    first = below(journal, root, "a")
    pay(journal, first, 0.6)
    journal.finish(first, FAILED).result(SOON)
    root = claim(journal, "s")
    found = given(journal, root, member("b"))
    assert (found.members, [w.id for w in found.wakes]) == ([], ["s"])
    assert "have cost 0.6 USD" in whys(journal, root)[1]


def test_a_pattern_below_asks_nobody_once_the_run_has_cost_enough(journal: Journal) -> None:
    root = bounded(journal, task="agents.gather", max_cost=0.5)
    given(journal, root, member("a"), member("b", task="agents.vote"))
    paid, vote = (below(journal, root, key) for key in ("a", "b"))
    pay(journal, paid, 0.6)
    found = given(journal, vote, number=2)
    assert (found.members, [w.id for w in found.wakes]) == ([], [vote.id])
    assert ["have cost 0.6 USD" in why for why in whys(journal, vote)] == [True, True]


def test_what_a_member_may_cost_is_its_own(journal: Journal) -> None:
    root = bounded(journal, max_cost=1.0)
    pay(journal, root, 0.7)
    given(journal, root, with_options("cheap", max_cost=0.2), member("other"))
    cheap, other = (below(journal, root, key) for key in ("cheap", "other"))
    assert journal.bounds.spent_up(journal.bounds.of(cheap, caps_of(cheap))) is None
    pay(journal, cheap, 0.2)
    assert journal.bounds.spent_up(journal.bounds.of(cheap, caps_of(cheap))) is not None
    assert journal.bounds.spent_up(journal.bounds.of(other, caps_of(other))) is None


def test_every_run_may_cost_as_much_as_the_settings_say(journal: Journal) -> None:
    """The root's payload says nothing of it; its members' do."""
    journal.bounds = Bounds(journal.engine, 0.3)
    root = claim(journal, "s", step())
    plan = narrowed(Expand(members=(member("a"),), team=True), {"max_cost": 0.3})
    journal.expand(root, plan, bounds=journal.bounds.of(root, {"max_cost": 0.3})).result(SOON)
    one = below(journal, root, "a")
    assert journal.bounds.of(one, caps_of(one)) == (Bound("s", {"max_cost": 0.3}),)


CAPPED = st.fixed_dictionaries({}, optional=dict.fromkeys(CAPS, st.integers(1, 9)))


@given_(CAPPED, CAPPED)
def test_members_inherit_what_is_narrower(above: dict[str, Any], own: dict[str, Any]) -> None:
    (told,) = narrowed(Expand(members=(with_options("a", **own),)), above).members
    merged = {n: min(c for c in (above.get(n), own.get(n)) if c) for n in {*above, *own}}
    assert told.options == {"agent": "a", **merged}
