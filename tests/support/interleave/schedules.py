"""Which schedules are tried: all of them in the order of their changes between actors, or some.

Systematic: the fewest changes first (M. Musuvathi, S. Qadeer, "Iterative context bounding",
PLDI 2007). At random: by priorities that change now and then (S. Burckhardt et al., "A randomized
scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010), or evenly.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.support.interleave.stage import Chooser, Trace

#: Runs one schedule.
Run = Callable[[Chooser], Trace]


@dataclass(frozen=True, slots=True)
class Tried:
    """One schedule that was run; ``whole`` with the last one if there are no others."""

    trace: Trace
    seed: str = ""
    whole: bool = False


def follow(choices: Sequence[int]) -> Chooser:
    """Choose as it was done before; then go on with whoever went last."""
    left = list(reversed(choices))

    def choose(enabled: Sequence[int], last: int | None) -> int:
        if left and (wanted := left.pop()) in enabled:
            return wanted
        return last if last is not None and last in enabled else enabled[0]

    return choose


def every(run: Run, limit: int, seed: str = "") -> Iterator[Tried]:
    """Schedules with the fewest changes first, each once, until there are no more or ``limit``."""
    rng = random.Random(seed)
    todo: list[tuple[int, float, list[int]]] = [(0, 0.0, [])]
    for _ in range(limit):
        _, _, prefix = heapq.heappop(todo)
        trace = run(follow(prefix))
        _branch(todo, trace, len(prefix), rng)
        yield Tried(trace, whole=not todo)
        if not todo:
            return


def _branch(
    todo: list[tuple[int, float, list[int]]], trace: Trace, known: int, rng: random.Random
) -> None:
    """Note the schedules that leave this one after its prefix."""
    changes, last = 0, None
    for place, (chosen, enabled) in enumerate(zip(trace.choices, trace.enabled, strict=True)):
        if place >= known:
            for other in enabled:
                if other != chosen:
                    cost = changes + (last in enabled and other != last)
                    entry = (cost, rng.random(), [*trace.choices[:place], other])
                    heapq.heappush(todo, entry)
        changes += last in enabled and chosen != last
        last = chosen


def at_random(run: Run, count: int, seed: str) -> Iterator[Tried]:
    """So many schedules drawn from seeds: two of three by priorities, the others evenly."""
    length = 20
    for n in range(count):
        own = f"{seed}/{n}"
        trace = run(drawn(own, length))
        length = max(length, len(trace.choices))
        yield Tried(trace, own)


def drawn(seed: str, length: int) -> Chooser:
    """A random schedule of about so many steps."""
    rng = random.Random(seed)
    if rng.random() < 1 / 3:
        return lambda enabled, _: rng.choice(enabled)
    changes = {rng.randrange(length) for _ in range(rng.randint(1, 4))}
    priorities: dict[int, float] = {}
    step = -1

    def choose(enabled: Sequence[int], _last: int | None) -> int:
        nonlocal step
        step += 1
        for actor in enabled:
            priorities.setdefault(actor, rng.random())
        first = max(enabled, key=priorities.__getitem__)
        if step in changes:
            priorities[first] = -rng.random() - step  # below all, from now on
            first = max(enabled, key=priorities.__getitem__)
        return first

    return choose
