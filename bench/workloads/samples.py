"""Votes of forty samples that stop early: in waves of one, of the rule's choice, and at once."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.samples import questions
from bench.workload import Figures, Stopwatch, Workload

_QUESTIONS = 500
#: Orders of each question's answers by the stop rule's own waves: as they were published, which is
#: also that of waves of one, and others.
_ORDERS = 5


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """500 questions: in waves of one, and in the stop rule's, which meets some orders."""
    count, orders = (50, 1) if quick else (_QUESTIONS, _ORDERS)
    by_themselves = [{"questions": count, "waves": None, "order": n} for n in range(orders)]
    return [{"questions": count, "waves": 1, "order": 0}, *by_themselves]


def measure(driver: Driver, case: Case) -> Figures:
    """Time all votes at once; count what they used, and the right answers."""
    asked = questions(case["questions"], case["order"])
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
    note="bench/samples.py says where the published answers come from, and what is drawn else.\n"
    "Of 500 one is 0.002, and what is right differs by as much from order to order.",
)
