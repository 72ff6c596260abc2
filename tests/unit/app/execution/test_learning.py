"""A chain's memory round whatever decides, on a real journal."""

from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.fallback import learned as memory
from agents.patterns.fallback.learned import Learned
from agents.plan import Expand
from app.execution.learning import with_memory
from app.execution.runtime import Runtime
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import AllCandidatesFailedError

REQUEST = Fallback(candidates=("a", "b"), strategy="adaptive", input=1)


def known(runtime: Runtime) -> Learned:
    return Learned.read(runtime.journal.memos.change(memory.memo_key(REQUEST), lambda m: m))


@pytest.mark.parametrize(
    "plan", [Expand(members=()), Outcome(state=State.SUCCEEDED, value=1)], ids=["asks", "ends"]
)
def test_what_decides_is_told_what_is_known(runtime: Runtime, plan: Any) -> None:
    told: list[Learned] = []

    def advance(*, learned: Learned) -> Any:
        told.append(learned)
        return plan

    for _ in range(3):
        assert with_memory(runtime.journal, REQUEST, [], advance) is plan
    assert [learned.requests for learned in told] == [1, 2, 3]
    assert known(runtime).requests == 3


def test_it_learns_from_a_chain_that_failed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    revised: list[str] = []
    plain = memory.with_attempts

    def with_attempts(*args: Any, **kwargs: Any) -> Learned:
        revised.append("attempts")
        return plain(*args, **kwargs)

    monkeypatch.setattr(memory, "with_attempts", with_attempts)

    def advance(*, learned: Learned) -> Any:
        raise AllCandidatesFailedError("none")

    with pytest.raises(AllCandidatesFailedError):
        with_memory(runtime.journal, REQUEST, [], advance)
    assert revised == ["attempts"]
