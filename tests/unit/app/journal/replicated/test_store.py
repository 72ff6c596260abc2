"""Replicated values of journals that are cut off from each other, and joined again."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.journal.replicated import compacting
from app.journal.replicated.store import ReplicatedStore
from app.journal.schema.transactions import in_transaction
from celery_agents.contracts.flows.entries import stream_of
from celery_agents.contracts.flows.replicated import (
    TYPES,
    DataType,
    ReplicatedPage,
    changes_of,
)
from celery_agents.errors import InvalidPayloadError
from tests.support.drawn import costly
from tests.unit.agents.replicated.test_values import act_of
from tests.unit.app.journal.support import World


@pytest.fixture
def here(world: World) -> ReplicatedStore:
    return ReplicatedStore(world.engine)


@pytest.fixture
def there(second_journal_url: str) -> Iterator[ReplicatedStore]:
    made = World(second_journal_url)
    yield ReplicatedStore(made.engine)
    made.close()


def change(store: ReplicatedStore, where: tuple[DataType, str], change_id: str, **one: Any) -> Any:
    read = changes_of([one], where[0])
    return store.change("", where, read, change_id).value


def pull(to: ReplicatedStore, source: ReplicatedStore, limit: int = 500) -> int:
    """Take over all that there is; how many entries were new."""
    new, name = 0, source.identity()
    while True:
        page = source.page("", to.position("", name), limit)
        page = ReplicatedPage.model_validate_json(page.model_dump_json())
        new += to.take("", page).new
        if not page.behind:
            return new


def standing(store: ReplicatedStore) -> dict[tuple[str, str], Any]:
    named = [(one["type"], one["name"]) for one in store.listed("", "", 1_000)]
    return {which: store.read("", *which) for which in named}


@pytest.mark.parametrize("compacts", [False, True])
@pytest.mark.parametrize("operations", [costly(1_000, part=25)])
def test_two_journals_that_are_cut_off_and_joined_are_equal_at_the_end(
    here: ReplicatedStore, there: ReplicatedStore, operations: int, compacts: bool
) -> None:
    chance, both, joins = random.Random(7), (here, there), costly(20)
    for join in range(joins):
        for store in both:
            for number in range(operations // joins):
                data_type = chance.choice(TYPES)
                where = (data_type, f"of {chance.randint(0, 2)}")
                act = act_of(data_type, chance)
                change(store, where, f"{join}/{number}", **act)
        if compacts:
            chance.choice(both).compact("", keep_s=0.0)
        if join % 3:  # now and then one side alone hears of the other
            pull(here, there, limit=chance.choice([7, 500]))
        if join % 2:
            pull(there, here)
    for store, other in (both, both[::-1], both):
        pull(store, other)
    found = standing(here)
    assert found == standing(there)
    assert len(found) == len(TYPES) * 3
    numbers = [sum(one.context.vector.values()) for one in found.values()]
    assert sum(numbers) == 2 * operations
    assert not any(one.context.cloud for one in found.values())
    assert pull(here, there) == pull(there, here) == 0
    if compacts:
        for store, other in (both, both[::-1]):
            store.compact("", keep_s=0.0)
            assert sum(one["changes"] for one in store.listed("", "", 1_000)) == len(found)
            assert standing(store) == found
            assert pull(other, store) == 0
        assert pulled_anew(here, there) == pulled_anew(there, here) == 0


def pulled_anew(to: ReplicatedStore, source: ReplicatedStore) -> int:
    """Take over all from the beginning; how many entries were new."""
    new, after, name = 0, None, to.identity()
    while True:
        page = source.page("", after, 500)
        new, after = new + to.take("", page).new, page.position
        assert to.identity() == name
        if not page.behind:
            return new


@pytest.mark.parametrize("at_once", [2, 3, 1_000])
def test_changes_that_are_put_together_come_back_and_are_known(
    here: ReplicatedStore,
    there: ReplicatedStore,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    monkeypatch.setattr(compacting, "AT_ONCE", at_once)
    for number in range(7):
        change(here, ("set", "cart"), f"{number}", act="add", value=number)
    change(here, ("counter", "n"), "1", act="increment", value=1)
    assert (pull(there, here), there.compact("", keep_s=3_600.0)) == (8, (0, 0))
    was = here.identity()
    assert here.compact("", keep_s=0.0) == (1, 6)
    assert here.compact("", keep_s=0.0) == (0, 0)
    # Its own changes come back, which are no entries here any more: nothing is new, nor set back.
    assert pulled_anew(here, there) == 0
    assert here.identity() == was
    change(here, ("set", "cart"), "8", act="discard", value=3)
    assert pull(there, here) == 1
    assert there.read("", "set", "cart") == here.read("", "set", "cart")
    assert there.read("", "set", "cart").value == [0, 1, 2, 4, 5, 6]
    assert {one["name"]: one["changes"] for one in here.listed("", "", 10)} == {"cart": 2, "n": 1}


def test_one_that_reads_on_misses_nothing_of_what_was_put_together(
    here: ReplicatedStore, there: ReplicatedStore
) -> None:
    for number in range(6):
        change(here, ("counter", "n"), f"{number}", act="increment", value=1)
    page = here.page("", None, 3)
    assert there.take("", page).new == 3
    here.compact("", keep_s=0.0)
    assert pull(there, here) == 1
    assert there.read("", "counter", "n") == here.read("", "counter", "n")
    assert pulled_anew(there, here) == 0


def test_one_that_was_set_back_hears_of_it_from_what_others_put_together(
    world: World, here: ReplicatedStore, there: ReplicatedStore
) -> None:
    for number in range(3):
        change(here, ("counter", "n"), f"{number}", act="increment", value=1)
    pull(there, here)
    there.compact("", keep_s=0.0)
    was = here.identity()
    in_transaction(world.engine, lambda c: c.exec_driver_sql("DELETE FROM entries"))
    assert here.take("", there.page("", None, 500))[:] == (1, 0, True)
    assert here.identity() != was
    assert change(here, ("counter", "n"), "9", act="increment", value=1) == 4


def test_a_change_whose_message_comes_twice_is_made_once(here: ReplicatedStore) -> None:
    for _ in range(2):
        assert change(here, ("counter", "visits"), "m", act="increment", value=3) == 3
    assert change(here, ("counter", "visits"), "n", act="increment", value=3) == 6


def test_changes_at_once_all_count(here: ReplicatedStore) -> None:
    def add(who: int) -> None:
        for number in range(5):
            change(here, ("counter", "visits"), f"{who}/{number}", act="increment", value=1)

    threads = [threading.Thread(target=add, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert here.read("", "counter", "visits").value == 20


def test_a_page_that_comes_again_or_late_changes_nothing(
    here: ReplicatedStore, there: ReplicatedStore
) -> None:
    change(there, ("set", "cart"), "1", act="add", value="tea")
    first = there.page("", None, 500)
    change(there, ("set", "cart"), "2", act="discard", value="tea")
    second = there.page("", first.position, 500)
    assert here.take("", second)[:2] == (1, 0)
    assert here.take("", first)[:2] == (1, 0)
    assert here.take("", first)[:2] == (0, 1)
    assert here.read("", "set", "cart").value == []
    assert here.read("", "set", "cart") == there.read("", "set", "cart")


def test_what_goes_by_way_of_others_comes_once(
    here: ReplicatedStore, there: ReplicatedStore
) -> None:
    change(here, ("counter", "n"), "1", act="increment", value=1)
    assert pull(there, here) == 1
    assert pull(here, there) == 0
    change(there, ("counter", "n"), "1", act="increment", value=1)
    assert pull(here, there) == 1
    assert here.read("", "counter", "n").value == 2


def test_a_page_with_one_that_is_no_change_is_not_taken(
    here: ReplicatedStore, there: ReplicatedStore
) -> None:
    change(there, ("set", "cart"), "1", act="add", value="tea")
    change(there, ("set", "cart"), "2", act="add", value="salt")
    page = there.page("", None, 500)
    page.entries[1].data["store"] = {"tea": 7}
    with pytest.raises(InvalidPayloadError, match="no change of a set"):
        here.take("", page)
    assert here.position("", there.identity()) is None
    assert here.listed("", "", 10) == []


def test_a_journal_that_was_set_back_takes_another_identity(
    world: World, here: ReplicatedStore, there: ReplicatedStore
) -> None:
    was = here.identity()
    change(here, ("set", "cart"), "1", act="add", value="tea")
    pull(there, here)
    in_transaction(world.engine, lambda c: c.exec_driver_sql("DELETE FROM entries"))
    taken = here.take("", there.page("", None, 500))
    assert (taken.new, taken.renewed) == (1, True)
    assert here.identity() != was
    change(here, ("set", "cart"), "2", act="add", value="salt")
    pull(there, here)
    assert there.read("", "set", "cart").value == ["salt", "tea"]


def test_a_change_that_comes_again_after_that_is_known(
    world: World, here: ReplicatedStore, there: ReplicatedStore
) -> None:
    one: dict[str, Any] = {"act": "increment", "value": 3}
    for number, change_id in enumerate(("click", "other"), 1):
        assert change(here, ("counter", "n"), change_id, **one) == 3 * number
        pull(there, here)
        in_transaction(world.engine, lambda c: c.exec_driver_sql("DELETE FROM entries"))
        assert here.take("", there.page("", None, 500)).renewed
        assert change(here, ("counter", "n"), "click", **one) == 3 * number
    assert change(here, ("counter", "n"), "other", **one) == 6
    assert change(here, ("counter", "n"), "new", **one) == 9


def test_values_of_another_tenant_are_not_taken(
    here: ReplicatedStore, there: ReplicatedStore
) -> None:
    change(there, ("counter", "n"), "1", act="increment", value=1)
    with pytest.raises(InvalidPayloadError, match="--tenant"):
        here.take("acme", there.page("", None, 500))
    with pytest.raises(InvalidPayloadError, match="--tenant"):
        here.take("", there.page("acme", None, 500))
    assert here.listed("acme", "", 10) == here.listed("", "", 10) == []


def test_a_journal_is_no_source_of_itself(here: ReplicatedStore) -> None:
    with pytest.raises(InvalidPayloadError, match="another identity"):
        here.take("", here.page("", None, 500))
    before = here.identity()
    renewed = here.renew()
    assert renewed == here.identity() != before


def test_positions_that_are_none_are_refused(here: ReplicatedStore) -> None:
    for told in ("x", "1", "1.x"):
        with pytest.raises(InvalidPayloadError, match="position"):
            here.page("", told, 10)
    change(here, ("set", "cart"), "1", act="add", value="tea")
    assert len(here.page("", "9000000000000000000.1", 10).entries) == 1


def test_values_of_tenants_are_apart_and_nobody_else_writes_the_streams(
    here: ReplicatedStore,
) -> None:
    change(here, ("counter", "n"), "1", act="increment", value=1)
    assert here.read("acme", "counter", "n").value == 0
    assert here.page("acme", None, 10).entries == []
    with pytest.raises(InvalidPayloadError, match="service's own"):
        stream_of("replicated/counter/n")
