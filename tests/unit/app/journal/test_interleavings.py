"""Orders in which operations of the journal can meet; all of them by tests/support/interleave."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import takewhile
from typing import Any

import pytest
from sqlalchemy import make_url, text

from tests.support.drawn import in_turn, is_full
from tests.support.interleave import __main__ as tool
from tests.support.interleave import compared
from tests.support.interleave.cases import DEEDS, SHARP, Case
from tests.support.interleave.explore import Explorer, Result, pairs
from tests.support.interleave.ground import Ground
from tests.support.interleave.invariants import CHECKS, broken
from tests.support.interleave.mends import GROUPS, MENDS, Mend
from tests.support.interleave.operations import deed
from tests.support.interleave.schedules import at_random, drawn, every, follow
from tests.support.interleave.stage import Trace
from tests.support.interleave.without import ROOT, noticed
from tests.support.postgres import ENVIRONMENT, Databases

pytestmark = pytest.mark.postgres

#: Schedules of a case here. A whole exploration takes an hour or two: ./run interleave.
OF_A_SHARP_ONE, OF_A_PAIR, PAIRS, TRIPLES = (5, 3, 1, 8) if is_full() else (2, 2, 1, 4)


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
        """In full in each world that has it, otherwise in the first of them, and in some others."""
        earlier = [*takewhile(world.__ne__, DEEDS)]
        before = [n for n in DEEDS[world] if any(n in DEEDS[other] for other in earlier)]
        again = in_turn(before, len(earlier), part=10)
        for name in (n for n in DEEDS[world] if n in again or n not in before):
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

    def test_an_undoing_asked_for_again_as_a_member_ends_late(self, explorer: Explorer) -> None:
        """Both write the run and the step that undoes it: a deadlock, were their orders two."""
        case = Case("undo-dead", ("requeue u", "undoable b"), (True, True))
        hold(explorer.once(case, follow([int(c) for c in "1111100011000"])))

    @pytest.mark.parametrize("fault", SHARP)
    def test_no_fault_that_there_was(self, explorer: Explorer, fault: str) -> None:
        for case in in_turn(SHARP[fault], 0, part=2):
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


class TestMends:
    """What each mend is good for is known: without it something is found."""

    def test_every_group_has_one(self) -> None:
        assert {m.group for m in MENDS} == set(GROUPS)
        assert len({m.name for m in MENDS}) == len(MENDS)

    @pytest.mark.parametrize("mend", MENDS, ids=lambda m: m.name)
    def test_it_can_be_taken_out(self, mend: Mend) -> None:
        sources: dict[Any, str] = {}
        for edit in mend.edits:
            path = (ROOT / edit.module.replace(".", "/")).with_suffix(".py")
            before = sources.get(path) or path.read_text()
            sources[path] = edit(before)
            compile(sources[path], path, "exec")
            assert sources[path] != before
        assert sources

    @pytest.mark.parametrize("mend", MENDS, ids=lambda m: m.name)
    def test_it_names_what_has_to_notice(self, mend: Mend) -> None:
        assert bool(mend.test) != bool(mend.faults)
        assert set(mend.faults) <= set(SHARP)
        checks = [c.__name__.replace("_", " ") for c in CHECKS]
        assert any(c.startswith(mend.breach) for c in checks)
        if mend.test:
            path, name = mend.test.split("::")
            assert re.search(rf"(def|class) {name}\b", (ROOT / path).read_text())

    @pytest.mark.parametrize(
        "name",
        in_turn(
            [
                "a cancelled step waits to be tried again",
                "a claim does not know itself again",
                "cancelled before it came, and settled",
            ],
            0,
            part=3,
        ),
    )
    def test_without_it_the_tool_finds_the_fault(
        self, postgres: Databases, explorer: Explorer, name: str
    ) -> None:
        (mend,) = (m for m in MENDS if m.name == name)
        server = {ENVIRONMENT: postgres.admin.render_as_string(hide_password=False)}
        found = noticed(mend, server)
        assert found is not None
        assert found.startswith("--world ")
        for case in [case for fault in mend.faults for case in SHARP[fault]]:
            assert explorer.first(case, 2, "1", mend.breach) is None


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
        assert trace.deadlocks >= 1, "tried again at once, they may meet once more"
        assert trace.errors == {}
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

    def test_a_claim_that_is_told_to_two_is_broken(self, explorer: Explorer) -> None:
        story = explorer.story(Case.of("tree", "lapsed l|beat A"), follow([]))
        assert broken(story) == []
        (claim,) = (t for t in story.told if t.what == "claim")
        twice = replace(story, told=[*story.told, claim])
        assert "a claim is told to one: l under 2 was told to 2" in broken(twice)

    def test_schedules_that_were_not_tried_fail_a_run(
        self,
        explorer: Explorer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """As when somebody changes how they are shared out among the worlds."""

        def few(case: Case, *_: Any) -> Result:
            kinds = tuple(deed(d, explorer.world(case.world)).kind for d in case.deeds)
            return Result(case, kinds, tried=1)

        monkeypatch.setattr(tool, "explorer", lambda: nullcontext(explorer))
        monkeypatch.setattr(explorer, "at_random", few)
        monkeypatch.setattr(explorer, "every", few)
        assert tool.main(["--world", "patient-first", "--pairs", "50"]) == 1
        assert "TOO FEW: 4 schedules of cancel and cancel" in capsys.readouterr().out

    def test_every_operation_is_tried_with_every_other_one(self, explorer: Explorer) -> None:
        asked = {
            *("claim new", "claim taken", "claim early", "claim lapsed", "claim spent"),
            "claim due",
            *("finish root", "finish member", "finish first", "finish decided", "expand first"),
            *("expand next", "postpone", "give back", "cancel", "approve", "deadline"),
            *("takeover", "requeue", "compensate", "clean", "settle", "call"),
        }
        kinds = {
            world: {deed(name, explorer.world(world)).kind for name in names}
            for world, names in DEEDS.items()
        }
        assert asked <= set().union(*kinds.values())
