"""Trying the schedules of operations in a world, and telling of those that break something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from celery_agents.errors import AgentsError, JournalUnavailableError
from tests.support.interleave import schedules
from tests.support.interleave.cases import Case
from tests.support.interleave.ground import Ground, InPlace, World
from tests.support.interleave.hands import Hand
from tests.support.interleave.invariants import Story, broken
from tests.support.interleave.operations import Deed, deed
from tests.support.interleave.stage import Chooser, Trace
from tests.support.interleave.worlds import WORLDS

#: Of ten schedules, so many are tried with the fewest changes first, the others at random.
_SYSTEMATIC = 0.7


@dataclass(slots=True)
class Breach:
    """A schedule after which something did not hold."""

    case: Case
    what: list[str]
    trace: Trace
    seed: str

    @property
    def choices(self) -> str:
        """The order of those who went on, a digit for each step."""
        return "".join(map(str, self.trace.choices))

    def __str__(self) -> str:
        told = "\n".join(f"  {w}" for w in self.what)
        seed = f"  seed {self.seed}\n" if self.seed else ""
        return f"{self.case} --choices {self.choices}\n{told}\n{seed}{self.trace.told()}"


@dataclass(slots=True)
class Result:
    """How the schedules of a case went."""

    case: Case
    kinds: tuple[str, ...]
    tried: int = 0
    whole: bool = False  # all that there are
    breaches: list[Breach] = field(default_factory=list)


class Explorer:
    """Tries cases on one ground."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._worlds: dict[str, World] = {}

    def world(self, name: str) -> World:
        if name not in self._worlds:
            self._worlds[name] = self.ground.make(name, WORLDS[name])
        return self._worlds[name]

    def every(self, case: Case, limit: int, seed: str = "") -> Result:
        """Schedules of a case: all, or ``limit`` of which some are random."""
        result = self._result(case)
        first = max(1, int(limit * _SYSTEMATIC))
        for tried in schedules.every(lambda c: self._run(case, c, result), first, seed):
            result.whole = tried.whole
        if not result.whole:
            self._at_random(case, limit - first, seed, result)
        return result

    def at_random(self, case: Case, count: int, seed: str) -> Result:
        """So many random schedules of a case."""
        result = self._result(case)
        self._at_random(case, count, seed, result)
        return result

    def first(self, case: Case, limit: int, seed: str, what: str) -> Breach | None:
        """The first breach of this kind in so many schedules, of triples random ones."""
        result = self._result(case)
        ways = schedules.at_random if len(case.deeds) > 2 else schedules.every
        for _ in ways(lambda c: self._run(case, c, result), limit, seed):
            for breach in result.breaches[-1:]:
                if any(told.startswith(what) for told in breach.what):
                    return breach
        return None

    def once(self, case: Case, chooser: Chooser) -> Result:
        """One schedule, as a chooser says."""
        result = self._result(case)
        self._run(case, chooser, result)
        return result

    def _at_random(self, case: Case, count: int, seed: str, result: Result) -> None:
        for tried in schedules.at_random(lambda c: self._run(case, c, result), count, seed):
            for breach in result.breaches:
                if breach.trace is tried.trace:
                    breach.seed = tried.seed

    def _result(self, case: Case) -> Result:
        world = self.world(case.world)
        return Result(case, tuple(deed(d, world).kind for d in case.deeds))

    def _run(self, case: Case, choose: Chooser, result: Result) -> Trace:
        story = self.story(case, choose)
        result.tried += 1
        if what := broken(story):
            result.breaches.append(Breach(case, what, story.trace, ""))
        return story.trace

    def story(self, case: Case, choose: Chooser) -> Story:
        """Run one schedule from the beginning of its world."""
        world, ground = self.world(case.world), self.ground
        ground.restore(world)
        hands = [Hand(ground, n) for n in range(len(case.deeds))]
        for hand, quick in zip(hands, case.quick, strict=True):
            writer = hand.journal._writer
            assert isinstance(writer, InPlace)
            writer.quick = quick
        deeds = [deed(d, world) for d in case.deeds]
        works = [_work(d, hand, world) for d, hand in zip(deeds, hands, strict=True)]
        losses = [d.loss for d in deeds]
        trace = ground.stage.run(works, choose, losses)
        told = [t for hand in hands for t in hand.told]
        seen, rows = ground.seen(), ground.look()
        return Story(world, told, trace, rows, seen, ground.clock(), lossy=any(losses))


def _work(what: Deed, hand: Hand, world: World) -> Callable[[], None]:
    def work() -> None:
        try:
            what(hand, world)
        except JournalUnavailableError:
            raise
        except AgentsError:  # it was refused, as is documented
            return

    return work


def pairs(deeds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each with each, itself too."""
    for n, one in enumerate(deeds):
        for other in deeds[n:]:
            yield one, other
