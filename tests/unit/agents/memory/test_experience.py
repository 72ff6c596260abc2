from __future__ import annotations

import random
import uuid
from typing import Any

from agents.memory.experience import (
    TriedTimes,
    as_instructions,
    effect,
    held_out,
    of_agents,
    ways,
)
from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.memory import MemoryRecord
from tests.support.drawn import costly

#: How often each tool of the family does well.
TRUTH = {"lookup": 0.95, "guess": 0.3}
NEAREST = 20


def memory(score: int, *did: str, reward: float = 1.0, agent: str = "a", **more: Any) -> Any:
    told = Experienced(did=did, reward=reward, **more)
    about: Any = {"id": "m", "text": "t", "tokens": 1, "at": 0.0, "agent": agent}
    return MemoryRecord(score=score, experience=told, **about)


def test_ways_go_by_how_similar_and_how_good_their_outcomes_were() -> None:
    found = [
        memory(100, "lookup"),
        memory(100, "lookup"),
        memory(50, "lookup", reward=0.0),
        memory(100, "guess", reward=0.0),
        memory(10, "guess"),
        memory(90, "guess", agent="b"),
        memory(90),
        MemoryRecord(id="n", text="t", tokens=1, at=0.0, agent="a", score=90),
    ]
    best, other = ways(found, "a")
    assert (best.names, best.times, best.reward) == (("lookup",), 2.5, 0.8)
    assert (other.names, other.times, other.reward) == (("guess",), 1.1, 0.091)
    told = as_instructions([best, other])
    assert "- lookup: 80% of about 2 went well" in told
    assert ways(found, "c") == ()
    assert of_agents(found, {"x": "b", "y": "c"}) == {"x": TriedTimes(1.0, 1.0)}


def test_one_success_is_not_taken_for_more_than_many() -> None:
    many = [memory(1, "often", reward=float(n > 0)) for n in range(10)]
    assert [way.names for way in ways([memory(1, "once"), *many], "a")] == [("often",), ("once",)]


def test_a_tenth_of_the_runs_is_held_out_the_same_ones_each_time() -> None:
    runs = [str(uuid.UUID(int=n)) for n in range(5_000)]
    held = [run for run in runs if held_out(run)]
    assert 400 <= len(held) <= 600
    assert held == [run for run in runs if held_out(run)]


def family(truth: dict[str, float], seed: int, runs: int = 600) -> list[Experienced]:
    """A family of like tasks: each run draws a tool, unless it is told which did well."""
    luck = random.Random(seed)
    kept: list[MemoryRecord] = []
    for n in range(runs):
        told = ways(reversed(kept[-NEAREST:]), "a")
        held = held_out(f"{seed}-{n}")
        tool = told[0].names[0] if told and not held else luck.choice([*truth])
        reward = float(luck.random() < truth[tool])
        kept.append(memory(100, tool, reward=reward, found=bool(told), held=held))
    return [m.experience for m in kept if m.experience is not None]


def test_a_better_tool_is_found_and_its_effect_is_beyond_chance() -> None:
    for seed in range(5):
        shown = effect(family(TRUTH, seed))
        assert shown.by is not None
        assert shown.low is not None
        assert 0 < shown.low <= shown.by
        assert shown.told.runs + shown.held_out.runs == 599  # the first one had nothing before it


def test_with_nothing_to_learn_there_is_no_effect() -> None:
    count = costly(40, part=2)
    shown = [effect(family(dict.fromkeys(TRUTH, 0.7), seed)) for seed in range(count)]
    covered = [e.low <= 0 <= e.high for e in shown if e.low is not None and e.high is not None]
    assert len(covered) == count
    assert sum(covered) >= 0.875 * count  # of intervals of 95 %
    assert abs(sum(e.by or 0.0 for e in shown) / count) < 0.04


def test_without_runs_that_were_held_out_nothing_is_said() -> None:
    shown = effect([Experienced(reward=1.0, found=True, cost_usd=0.5), Experienced(reward=1.0)])
    assert (shown.by, shown.low, shown.high) == (None, None, None)
    assert (shown.told.runs, shown.told.cost_usd, shown.held_out.runs) == (1, 0.5, 0)


def test_the_interval_is_newcombes() -> None:
    sides = [(56, 70, False), (48, 80, True)]  # the first example of his paper
    told = [
        Experienced(reward=float(n < good), found=True, held=held)
        for good, runs, held in sides
        for n in range(runs)
    ]
    shown = effect(told)
    assert (shown.by, shown.low, shown.high) == (0.2, 0.0524, 0.3339)
