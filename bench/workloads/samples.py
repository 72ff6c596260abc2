"""Votes of forty samples that stop early: in waves of one, of the rule's choice, and at once."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.samples import SAMPLES, questions
from bench.workload import Figures, Stopwatch, Workload

_QUESTIONS = 500
#: Sizes of the waves; None: the stop rule's choice.
_WAVES = (1, None)


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """500 questions, in three ways to ask; a fifth where each takes forty samples."""
    count = 50 if quick else _QUESTIONS
    return [
        {"questions": count // (5 if waves == SAMPLES else 1), "waves": waves} for waves in _WAVES
    ]


def measure(driver: Driver, case: Case) -> Figures:
    """Time all votes at once; count what they used, and the right answers."""
    _, asked = questions(case["questions"])
    watch = Stopwatch()
    got = driver.panels([question.answers for question in asked], case["waves"])
    seconds = watch.seconds
    right = [one.right == vote.option for one, vote in zip(asked, got, strict=True)]
    return {
        "votes_per_s": len(got) / seconds,
        "samples": mean(vote.samples for vote in got),
        "waves": mean(vote.waves for vote in got),
        "waves_p50": median(vote.waves for vote in got),
        "right": mean(right),
    }


WORKLOAD = Workload(
    name="samples",
    title="Votes of forty samples that stop early (adaptive_consistency, plurality), by waves",
    headline="votes_per_s",
    unit="votes/s",
    cases=cases,
    measure=measure,
    columns={
        "samples": "samples",
        "waves": "waves",
        "waves_p50": "waves p50",
        "right": "right",
    },
    limit_s=600.0,
    note="bench/samples.py says where the published answers come from, and what is drawn else.",
)
