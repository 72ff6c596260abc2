"""Orders in which operations of the journal can meet; all of them by tests/support/interleave."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import make_url, text

from tests.support.interleave import compared
from tests.support.interleave.cases import DEEDS, SHARP, Case
from tests.support.interleave.explore import Explorer, Result, pairs
from tests.support.interleave.ground import Ground
from tests.support.interleave.operations import deed
from tests.support.interleave.schedules import at_random, drawn, every, follow
from tests.support.interleave.stage import Trace
from tests.support.postgres import Databases

pytestmark = pytest.mark.postgres

#: Schedules of a case here. A whole exploration takes an hour or two: ./run interleave.
OF_A_SHARP_ONE, OF_A_PAIR, PAIRS, TRIPLES = 8, 4, 2, 15


@pytest.fixture(scope="module")
def explorer(postgres: Databases, _migrated_postgres: str) -> Iterator[Explorer]:
    url = postgres.create(template=make_url(_migrated_postgres).database)
    ground = Ground(url)
    yield Explorer(ground)
    ground.close()
    postgres.drop(url)


def hold(result: Result) -> None:
    assert result.tried
    assert not result.breaches, str(result.breaches[0])


class TestWhatHolds:
    @pytest.mark.parametrize("world", DEEDS)
    def test_each_operation_alone_does_the_same_by_shots_and_without(
        self, explorer: Explorer, world: str
    ) -> None:
        for name in DEEDS[world]:
            quick, general = (
                explorer.story(Case(world, (name,), (q,)), follow([])) for q in (True, False)
            )
            assert compared.told(quick) == compared.told(general), name
            assert compared.written(quick) == compared.written(general), name

    @pytest.mark.parametrize("world", DEEDS)
    def test_some_pairs_in_some_orders(self, explorer: Explorer, world: str) -> None:
        rng = random.Random(zlib.crc32(world.encode()))
        every_pair = list(pairs(DEEDS[world]))
        for names in rng.sample(every_pair, min(PAIRS, len(every_pair))):
            ways = (rng.random() < 0.5, rng.random() < 0.5)
            hold(explorer.every(Case(world, names, ways), OF_A_PAIR))

    def test_some_triples_in_some_orders(self, explorer: Explorer) -> None:
        rng = random.Random(11)
        for _ in range(TRIPLES):
            world = rng.choice(list(DEEDS))
            names = tuple(rng.choices(DEEDS[world], k=3))
            ways = tuple(rng.random() < 0.5 for _ in names)
            hold(explorer.at_random(Case(world, names, ways), 1, f"{world}/{names}"))

    @pytest.mark.parametrize("fault", SHARP)
    def test_no_fault_that_there_was(self, explorer: Explorer, fault: str) -> None:
        for case in SHARP[fault]:
            if len(case.deeds) == 3:
                hold(explorer.at_random(case, 2 * OF_A_SHARP_ONE, fault))
            else:
                hold(explorer.every(case, OF_A_SHARP_ONE, fault))

    @pytest.mark.parametrize("name", ["~new k", "~ready c", "~yes r", "~requeue d", "~end a"])
    def test_an_answer_that_is_lost_beside_another_operation(
        self, explorer: Explorer, name: str
    ) -> None:
        for other in ("cancel r", "end a"):
            hold(explorer.every(Case.of("tree", f"{name}|{other}"), OF_A_PAIR))


class TestTheTool:
    """It finds what is wrong, says so, and can do it again."""

    def add(self, explorer: Explorer, *, locked: bool) -> Any:
        """A counter that two actors raise by one, with or without a lock."""
        ground = explorer.ground
        ground.execute("DELETE FROM memos; INSERT INTO memos VALUES ('n', '{\"n\": 0}', 0)")
        lock = " FOR UPDATE" if locked else ""

        def work(number: int) -> None:
            def raised(c: Any) -> None:
                read = text(f"SELECT CAST(data->>'n' AS integer) FROM memos{lock}")
                n = c.execute(read).scalar_one() + 1
                c.execute(text(f"UPDATE memos SET data = '{{\"n\": {n}}}'"))

            ground.journals[number].transaction(raised)

        def run(choose: Any) -> Trace:
            ground.execute("UPDATE memos SET data = '{\"n\": 0}'")
            return ground.stage.run([lambda: work(0), lambda: work(1)], choose)

        return run

    def counted(self, explorer: Explorer) -> int:
        return int(explorer.ground.execute("SELECT data->>'n' FROM memos")[0][0])

    def test_it_tries_every_order_and_finds_a_lost_update(self, explorer: Explorer) -> None:
        found = {}
        for tried in every(run := self.add(explorer, locked=False), 100):
            found["".join(map(str, tried.trace.choices))] = self.counted(explorer)
        assert tried.whole
        assert found["000111"] == found["111000"] == 2
        assert found["001101"] == 1  # who writes second has read what was before
        assert {found[order] for order in found if order[:2] in {"01", "10"}} == {1}
        run(follow([0, 0, 1, 1, 0, 1]))
        assert self.counted(explorer) == 1

    def test_who_waits_for_a_lock_is_no_choice(self, explorer: Explorer) -> None:
        traces = []
        for tried in every(self.add(explorer, locked=True), 100):
            traces.append(tried.trace)
            assert self.counted(explorer) == 2
        assert tried.whole
        waited = next(t for t in traces if t.choices[:2] == [0, 1])
        assert waited.enabled[2:4] == [(0,), (0,)], "only who holds the lock goes on"

    def test_deadlocks_are_counted_and_tried_again(self, explorer: Explorer) -> None:
        ground = explorer.ground
        ground.execute("DELETE FROM memos; INSERT INTO memos VALUES ('a', '{}', 0), ('b', '{}', 0)")

        def work(number: int, keys: str) -> None:
            def both(c: Any) -> None:
                for key in keys:
                    c.execute(
                        text("UPDATE memos SET changed_at = 1 WHERE key = :key"), {"key": key}
                    )

            ground.journals[number].transaction(both)

        works = [lambda: work(0, "ab"), lambda: work(1, "ba")]
        trace = ground.stage.run(works, follow([0, 1, 0, 1]))
        assert (trace.deadlocks, trace.errors) == (1, {})
        assert ground.stage.run(works, follow([0, 0, 0])).deadlocks == 0

    def test_a_seed_and_its_choices_are_one_schedule(self, explorer: Explorer) -> None:
        case = Case.of("last-all", "win a|end b|late", "qgg")
        (first,) = at_random(lambda c: explorer.story(case, c).trace, 1, "seed")
        again = explorer.story(case, drawn("seed/0", 20)).trace
        by_choices = explorer.story(case, follow(first.trace.choices)).trace
        assert first.trace.choices == again.choices == by_choices.choices
        assert first.trace.statements == again.statements == by_choices.statements

    def test_what_is_broken_is_told_with_its_schedule(self, explorer: Explorer) -> None:
        case = Case.of("alone", "win s|beat A")
        claims = explorer.world("alone").claims
        kept = claims.pop("s")  # nobody knows of it
        claims["s"] = replace(kept, token=7)
        try:
            result = explorer.every(case, 4)
        finally:
            claims["s"] = kept
        assert result.breaches
        told = str(result.breaches[0])
        assert "--world alone --deeds 'win s|beat A' --ways quick,quick --choices" in told
        assert "who holds a step knows it: s under 1: nobody was told" in told

    def test_every_operation_is_tried_with_every_other_one(self, explorer: Explorer) -> None:
        asked = {
            *("claim new", "claim taken", "claim early", "claim lapsed", "claim spent"),
            *("finish root", "finish member", "finish first", "finish decided", "expand first"),
            *("expand next", "postpone", "give back", "cancel", "approve", "deadline"),
            *("takeover", "requeue", "compensate", "clean", "settle", "call"),
        }
        kinds = {
            world: {deed(name, explorer.world(world)).kind for name in names}
            for world, names in DEEDS.items()
        }
        assert asked <= set().union(*kinds.values())
