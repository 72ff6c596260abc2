from __future__ import annotations

import random

import pytest
from celery import chain, chord, group
from pydantic import ValidationError

from celery_agents import Workflow, WorkflowStep
from celery_agents.errors import InvalidPayloadError
from celery_agents.wire.durable import compiled
from tests.support import canvases
from tests.support.canvases import broken, note, pair, total

#: Canvases of the suite; thousands are tried by hand, with the same seeds.
COUNT = 150


def test_random_canvases_give_what_celery_gives_and_call_whom_it_calls() -> None:
    assert canvases.differing(COUNT) == []
    assert not canvases.unrun


def test_a_chain_in_a_header_that_fails_before_its_end_is_told() -> None:
    """celery/celery#6220: the errback of the chord's body."""
    body = total.s().on_error(note.s("sorry"))
    _, calls = canvases.durable(chord([broken.s() | pair.s(), pair.s(2)], body), random.Random(0))
    assert calls == {
        "canvases.broken ()": 1,
        "canvases.pair (2,)": 1,
        "canvases.note ('run', 'sorry')": 1,
    }


def test_deeply_nested_groups_run_to_the_last_body() -> None:
    inner = chain(group(pair.s(1), pair.s(2)), total.s(), group(pair.s(3), pair.s(4)), total.s())
    canvas = chain(pair.s(0), group(inner, chord([inner, pair.s(5)], total.s())), total.s())
    value, calls = canvases.durable(canvas, random.Random(0))
    assert isinstance(value, int)
    assert sum(calls.values()) == 1 + 6 + 6 + 2 + 1


def test_options_that_no_step_has_are_refused() -> None:
    with pytest.raises(InvalidPayloadError, match="countdown"):
        compiled(pair.s(1).set(countdown=5))


@pytest.mark.parametrize(
    ("needs", "told"),
    [({"a": "b", "b": "a"}, "wait for each other"), ({"a": "x"}, "there is no step 'x'")],
)
def test_a_workflow_that_leads_nowhere_is_refused(needs: dict[str, str], told: str) -> None:
    steps = tuple(WorkflowStep.of(k, pair.s(), needs=(v,)) for k, v in needs.items())
    with pytest.raises(ValidationError, match=told):
        Workflow(steps=steps)
