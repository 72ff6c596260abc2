"""What ``agents.solve`` learns: by simulation, with three kinds of task."""

from __future__ import annotations

import math
import random
from collections import defaultdict, deque
from collections.abc import Callable
from statistics import mean
from typing import Any, NamedTuple

import pytest

from agents.patterns.fallback.adaptive import reward
from agents.patterns.fallback.learned import Learned
from agents.patterns.solve import lessons
from agents.patterns.solve.pattern import advance
from agents.plan import Expand, MemberState
from celery_agents.contracts.fallback import Adaptive
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.teams.solve import Solve
from tests.support.drawn import costly


class Way(NamedTuple):
    """How a strategy does at a kind of task: how often it answers, how well, for what."""

    succeeds: float
    score: float
    latency_s: float
    cost_usd: float


#: Three kinds of task, each best served by another strategy: a simple question by a lone agent, one
#: at which that fails often by a chain, one at which it answers and is mostly wrong by a vote.
KINDS: dict[str, dict[str, Way]] = {
    "simple": {
        "ask": Way(0.97, 0.95, 1, 0.002),
        "chain": Way(0.98, 0.95, 6, 0.03),
        "panel": Way(0.98, 0.97, 9, 0.08),
    },
    "flaky": {
        "ask": Way(0.45, 0.9, 1, 0.002),
        "chain": Way(0.96, 0.9, 2, 0.004),
        "panel": Way(0.5, 0.95, 9, 0.05),
    },
    "hard": {
        "ask": Way(0.99, 0.35, 1, 0.002),
        "chain": Way(0.99, 0.45, 2, 0.006),
        "panel": Way(0.95, 0.95, 4, 0.02),
    },
}
WAYS = ["ask", "chain", "panel"]
REQUESTS, SEEDS, LATE = 900, costly(3, part=3), 15
POLICY = Adaptive()


def worth(kind: str, way: str) -> float:
    """The mean reward of a strategy, as one who knows all would have it."""
    how = KINDS[kind][way]
    about: Any = {"latency_s": how.latency_s, "cost_usd": how.cost_usd}
    return how.succeeds * reward(POLICY, succeeded=True, score=how.score, **about)


BEST = {kind: max(worth(kind, way) for way in WAYS) for kind in KINDS}


def ended(kind: str, way: str, rng: random.Random) -> MemberState:
    how = KINDS[kind][way]
    state = State.SUCCEEDED if rng.random() < how.succeeds else State.FAILED
    error = None if state is State.SUCCEEDED else ErrorInfo(kind="agent_failed", message="")
    outcome = Outcome(state=state, usage=Usage(cost_usd=how.cost_usd), error=error)
    took = how.latency_s * math.exp(rng.gauss(0, 0.2))
    return MemberState(key=way, state=state, outcome=outcome, elapsed_s=took)


def ours(seed: int, work: Callable[[str], str] = str, *, told: bool = True) -> float:
    """The share of the best rewards that the first choices earn, by the pattern and its memory.

    People score every other answer, some requests later.
    """
    rng = random.Random(seed)
    memories: dict[str, Learned] = defaultdict(Learned)
    scores: deque[Callable[[], None]] = deque()
    strategies = [{"verb": "ask", "options": {"agent": "x"}, "name": way} for way in WAYS]
    earned = []
    for number in range(REQUESTS):
        kind = rng.choice([*KINDS])
        request = Solve.model_validate({"strategies": strategies, "work": work(kind)})
        key = lessons.memo_key(request)
        known = memories[key] = lessons.with_request(memories[key])
        members: list[MemberState] = []
        about: Any = {"step_id": f"{seed}-{number}", "learned": known}
        while isinstance(plan := advance(request, members, **about), Expand):
            members.append(ended(kind, plan.members[0].key, rng))
        at = known.requests
        memories[key] = lessons.with_end(known, request, members, at=at)
        earned.append(worth(kind, members[0].key) / BEST[kind])

        def judge(
            asked: Solve = request, key: str = key, last: Any = members, kind: str = kind
        ) -> None:
            good = float(rng.random() < KINDS[kind][last[-1].key].score)
            memories[key] = lessons.with_feedback(memories[key], asked, last, was=None, score=good)

        if told and number % 2 == 0 and plan.ok:
            scores.append(judge)
        if len(scores) > LATE:
            scores.popleft()()
    return mean(earned)


def greedy(seed: int, share: float = 0.1) -> float:
    """A rival: the best mean so far for the kind, and now and then any."""
    rng = random.Random(seed)
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [1.0])
    earned = []
    for _ in range(REQUESTS):
        kind = rng.choice([*KINDS])
        means = {way: mean(sums[kind, way]) for way in WAYS}
        way = rng.choice(WAYS) if rng.random() < share else max(WAYS, key=lambda w: means[w])
        how = KINDS[kind][way]
        score = float(rng.random() < how.score) if rng.random() < 0.5 else 1.0
        about: Any = {"latency_s": how.latency_s, "cost_usd": how.cost_usd, "score": score}
        sums[kind, way].append(reward(POLICY, succeeded=rng.random() < how.succeeds, **about))
        earned.append(worth(kind, way) / BEST[kind])
    return mean(earned)


def always(way: str) -> float:
    return mean(worth(kind, way) / BEST[kind] for kind in KINDS)


def test_three_kinds_of_task_are_each_best_served_by_another() -> None:
    best = {kind: max(WAYS, key=lambda way: worth(kind, way)) for kind in KINDS}
    assert best == {"simple": "ask", "flaky": "chain", "hard": "panel"}


def test_it_earns_nine_tenths_of_what_a_seer_would_and_more_than_its_rivals() -> None:
    found = [ours(seed) for seed in range(SEEDS)]
    rivals = {
        "greedy": mean(greedy(seed) for seed in range(SEEDS)),
        "one memory": ours(0, lambda _: "any"),
        "nobody scores": ours(0, told=False),
        "at random": mean(always(way) for way in WAYS),
        **{f"always {way}": always(way) for way in WAYS},
    }
    print(f"\nsolve {mean(found):.3f} (least {min(found):.3f})")
    print("\n".join(f"{name} {earned:.3f}" for name, earned in rivals.items()))
    assert min(found) >= 0.9
    assert mean(found) >= max(rivals.values())


REQUEST = Solve.model_validate({"strategies": ["a", "b"], "work": "triage"})


def won(key: str = "a", cost_usd: float = 0.01) -> MemberState:
    outcome = Outcome(state=State.SUCCEEDED, usage=Usage(cost_usd=cost_usd))
    return MemberState(key=key, state=State.SUCCEEDED, outcome=outcome, elapsed_s=5.0)


def test_a_score_counts_in_place_of_success_and_the_last_one_only() -> None:
    once = lessons.with_end(lessons.with_request(Learned()), REQUEST, [won()], at=1)
    assert once.candidates["a"].reward == pytest.approx(0.9)  # 0.8 + half of two tenths
    bad = lessons.with_feedback(once, REQUEST, [won()], was=None, score=0.0)
    assert bad.candidates["a"].reward == pytest.approx(0.1)
    assert bad.candidates["a"].trials == once.candidates["a"].trials
    again = lessons.with_feedback(bad, REQUEST, [won()], was=0.0, score=0.0)
    assert again == bad
    back = lessons.with_feedback(bad, REQUEST, [won()], was=0.0, score=1.0)
    assert back.candidates["a"].reward == pytest.approx(once.candidates["a"].reward)


def test_what_is_told_of_a_memory() -> None:
    known = Learned(requests=2)
    known = lessons.with_end(known, REQUEST, [won()], at=1)
    known = lessons.with_end(known, REQUEST, [won("b", 1.0)], at=2)
    found = lessons.told(lessons.memo_key(REQUEST), known.compact(), 7.0)
    assert (found.verb, found.work, found.requests, found.changed_at) == ("solve", "triage", 2, 7.0)
    assert [(one.name, one.attempts) for one in found.records] == [("a", 1.0), ("b", 1.0)]
    assert found.records[0].reward == pytest.approx(0.9)
    assert found.records[0].median_s == pytest.approx(5.0, rel=0.1)


def test_a_memory_is_of_a_set_of_strategies_and_of_work() -> None:
    def key(*strategies: str, work: str = "triage") -> str:
        asked = {"strategies": strategies, "work": work}
        return lessons.memo_key(Solve.model_validate(asked))

    assert key("a", "b") == key("b", "a")
    assert len({key("a", "b"), key("a", "c"), key("a", "b", work="other")}) == 3
    assert len(key("a", work="w" * 180)) < 200
