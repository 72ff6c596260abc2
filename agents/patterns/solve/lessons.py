"""The memory of ``agents.solve``: one for a set of strategies and a sort of work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from agents.patterns.fallback.hedge import quantile
from agents.patterns.fallback.learned import Learned, with_attempts, with_score
from agents.patterns.solve.pattern import SELECT
from agents.plan import MemberState
from celery_agents.contracts.teams.solve import Solve, StrategyRecord, WorkLessons

#: Before the keys of memories: of ours, and of adaptive chains.
PREFIX, OF_CHAINS = "solve:", "fallback:"
#: Characters of a sort of work in the key of its memory.
_WORK = 100


def memo_key(request: Solve) -> str:
    """Return the key of its memory: the same strategies and sort of work share one."""
    names = "\0".join(sorted(one.name for one in request.strategies))
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    return f"{PREFIX}{request.work[:_WORK]}:{digest}"


def with_request(before: Learned) -> Learned:
    """The memory after one more request began."""
    return before.model_copy(update={"requests": before.requests + 1})


def with_end(
    before: Learned, request: Solve, members: Sequence[MemberState], *, at: int
) -> Learned:
    """The memory after request number ``at`` ended with these members."""
    tried = [m for m in members if m.key != SELECT]
    return with_attempts(before, tried, at=at, adaptive=request.adaptive)


def with_feedback(
    before: Learned,
    request: Solve,
    members: Sequence[MemberState],
    *,
    was: float | None,
    score: float,
) -> Learned:
    """The memory once somebody says what an answer was worth; ``was`` is what was said before."""
    score_it = partial(with_score, adaptive=request.adaptive, was=was, score=score)
    for member in members:
        if member.key != SELECT and member.outcome is not None and member.outcome.ok:
            before = score_it(before, member)
    return before


def told(key: str, data: Mapping[str, Any], changed_at: float) -> WorkLessons:
    """Tell people what a memory holds."""
    verb, _, rest = key.partition(":")
    known = Learned.read(dict(data))
    records = [
        StrategyRecord(
            name=name,
            attempts=one.trials,
            reward=one.reward / one.trials if one.trials else 0.0,
            median_s=quantile(known.digest(name), 0.5),
        )
        for name, one in known.candidates.items()
    ]
    records.sort(key=lambda record: (-record.reward, record.name))
    about: Any = {"verb": verb, "work": rest.rpartition(":")[0]}
    requests = known.requests
    return WorkLessons(**about, requests=requests, changed_at=changed_at, records=tuple(records))
