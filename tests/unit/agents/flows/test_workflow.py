from __future__ import annotations

import random
from typing import Any

import pytest
from celery import chain, chord, group
from pydantic import ValidationError

from agents.flows.history import Line
from agents.flows.pattern import advance, begun, dropped
from agents.flows.workflow import workflow
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


def played(plan: Workflow, rng: random.Random) -> list[set[str]]:
    """Which steps run, after each event of a workflow whose steps end one at a time."""
    told, history = plan.compact(), list[Line]()
    running, seen = set[str](), list[set[str]]()
    news, at = [Line("started", "", 1.0)], 1.0
    while True:
        instance = begun(workflow, "run", told, history)
        assert instance.difference is None, instance.difference
        found = advance(instance, workflow, told, news, at)
        dropped(instance)
        history += [Line.of(line.kind, line.data) for line in found.lines]
        if found.outcome is not None:
            assert found.outcome.ok, found.outcome
            return seen
        running |= {m.key for m in found.members}
        seen.append(set(running))
        key, at = rng.choice(sorted(running)), at + 1.0
        running.remove(key)
        news = [Line("done", key, at, key)]


def of(key: str, **more: Any) -> WorkflowStep:
    return WorkflowStep.of(key, pair.s(1), **more)


def test_steps_share_what_there_is_the_first_of_them_first() -> None:
    steps = [of(f"low{n}", uses={"gpu": 1}, priority=7) for n in range(3)]
    steps += [of(f"high{n}", uses={"gpu": 1}, priority=1) for n in range(3)]
    plan = Workflow(steps=(*steps, of("free")), resources={"gpu": 2})
    seen = played(plan, random.Random(1))
    assert seen[0] == {"high0", "high1", "free"}
    assert all(sum(key != "free" for key in one) <= 2 for one in seen)
    began = list(dict.fromkeys(key for one in seen for key in sorted(one)))
    assert [key[:3] for key in began if key != "free"] == ["hig"] * 3 + ["low"] * 3


def test_one_that_an_end_lets_begin_comes_before_those_that_waited() -> None:
    first, low = of("first", uses={"gpu": 1}), of("low", uses={"gpu": 1}, priority=9)
    high = of("high", uses={"gpu": 1}, priority=0, needs=("first",))
    plan = Workflow(steps=(first, low, high), resources={"gpu": 1})
    assert played(plan, random.Random(0)) == [{"first"}, {"high"}, {"low"}]


def test_one_that_needs_much_is_not_passed_for_ever() -> None:
    few = [of(f"few{n}", uses={"gpu": 1}) for n in range(2)]
    late = [of(f"late{n}", uses={"gpu": 1}) for n in range(4)]
    plan = Workflow(steps=(*few, of("big", uses={"gpu": 2}), *late), resources={"gpu": 2})
    seen = played(plan, random.Random(3))
    assert seen[:3] == [{"few0", "few1"}, seen[1], {"big"}]
    assert len(seen[1]) == 1


@pytest.mark.parametrize("seed", range(20))
def test_never_more_is_used_than_there_is_and_all_run(seed: int) -> None:
    rng = random.Random(seed)
    there = {"gpu": rng.randint(1, 3), "disk": rng.randint(1, 3)}
    steps: list[WorkflowStep] = []
    for n in range(12):
        uses = {name: rng.randint(1, most) for name, most in there.items() if rng.random() < 0.6}
        needs = tuple(one.key for one in steps if rng.random() < 0.15)
        steps.append(of(f"s{n}", uses=uses, needs=needs, priority=rng.randint(0, 9)))
    seen = played(Workflow(steps=tuple(steps), resources=there), rng)
    by_key = {one.key: one.uses for one in steps}
    for one in seen:
        for name, most in there.items():
            assert sum(by_key[key].get(name, 0) for key in one) <= most
    assert set().union(*seen) == set(by_key)


@pytest.mark.parametrize("uses", [{"gpu": 3}, {"disk": 1}, {"gpu": 0}])
def test_a_step_that_could_never_begin_is_refused(uses: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Workflow(steps=(of("a", uses=uses),), resources={"gpu": 2})
