from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from agents.catalog.compensation import check, undoable
from agents.catalog.registry import Registered, Registry
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import UnknownAgentError


@pytest.fixture
def registry() -> Registry:
    made = Registry(cast("Any", None))
    for name, by in (("plain", None), ("book", "cancel"), ("backup", "call"), ("cancel", None)):
        how = None if by is None else Compensation(agent=by)
        made._add(Registered(name, "any", "", "effect", lambda: None, compensation=how))  # type: ignore[arg-type,return-value]  # never asked
    router = replace(made.get("book"), name="router", among=("plain", "backup"))
    made._add(router)
    return made


BOOKED = Answer(value="booked", usage=Usage(calls=1))
BY_BACKUP = Outcome(state=State.SUCCEEDED, value="booked", agent="backup")
BY_PLAIN = Outcome(state=State.SUCCEEDED, value="booked", agent="plain")
REFUSED = Outcome(state=State.FAILED, error=ErrorInfo(kind="breaker_open", message="no"))


@pytest.mark.parametrize(
    ("agent", "own", "answer", "expected"),
    [
        ("plain", None, BOOKED, None),
        ("book", None, BOOKED, "cancel"),
        ("book", "other", BOOKED, "other"),  # the step's word counts
        ("plain", "other", BOOKED, "other"),
        ("book", False, BOOKED, None),
        ("book", None, BY_BACKUP, "call"),  # who did it knows how to undo it
        ("book", "other", BY_BACKUP, "other"),
        ("router", None, BY_PLAIN, "cancel"),
        ("router", None, BY_BACKUP, "call"),
        ("router", False, BY_PLAIN, None),
        ("book", None, REFUSED, None),  # nothing was done
    ],
)
def test_who_undoes_it(
    registry: Registry, agent: str, own: Any, answer: Any, expected: str | None
) -> None:
    found = undoable(registry, Ask(agent=agent, compensation=own), answer)
    if expected is None:
        assert found is answer
    else:
        assert isinstance(found, Outcome)
        assert found.compensation == Compensation(agent=expected)
        assert (found.state, found.value) == (State.SUCCEEDED, "booked")
        assert found.usage == answer.usage
        assert found.agent == getattr(answer, "agent", None)


def test_nothing_is_done_that_nobody_here_can_undo(registry: Registry) -> None:
    with pytest.raises(UnknownAgentError, match="nobody"):
        check(registry, Ask(agent="plain", compensation=Compensation(agent="nobody")))
    check(registry, Ask(agent="plain", compensation=Compensation(agent="cancel")))
    check(registry, Ask(agent="plain", compensation=False))
    check(registry, Ask(agent="plain"))


def test_who_took_over_undoes_its_own_step(registry: Registry) -> None:
    """And this one's agent undoes what this one did before."""
    registry.get("plain").handoffs = ("book",)
    registry.get("cancel").handoffs = ("plain",)
    answer = Outcome(state=State.SUCCEEDED, value="booked", agent="book")
    assert undoable(registry, Ask(agent="plain"), answer) is answer
    assert undoable(registry, Ask(agent="cancel"), answer) is answer  # by way of another
