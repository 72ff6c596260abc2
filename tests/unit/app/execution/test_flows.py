"""A flow's part of a step, on a real journal: what it is told, and what is left for later."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from agents.flows.pattern import dropped
from agents.plan import Expand
from app.execution.context import Step
from app.execution.flows import Instances, flow_step
from app.execution.runtime import Runtime
from app.journal.schema.rows import NewStep, derived_id
from app.journal.schema.transactions import in_transaction
from app.journal.steps import joins
from celery_agents import flow, names
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.outcome import Outcome
from tests.unit.app.journal.support import DONE, SOON, claimed, step

FLOW = "flow-1"


@flow
async def turns(run: Any, told: Any) -> Any:
    """Asks, begins anew, and waits for a word; or ends without waiting."""
    if told == "waits":
        return await run.signal("word")
    if told == "ends":
        return "ended"
    await run.ask("echo", told)
    return run.again(told["next"]) if "next" in told else await run.signal("word")


@pytest.fixture(params=[0, 1_000])
def flows(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, request: Any) -> Runtime:
    """Those of this module; kept in the process, or replayed at each wake."""
    module = ModuleType("flows")
    vars(module)["turns"] = turns
    runtime.agents.registry.flows.add_module(module)
    settings = runtime.settings.model_copy(update={"flows_max": request.param})
    monkeypatch.setattr(runtime, "settings", settings)
    return runtime


def new(told: Any) -> NewStep:
    payload = {"args": [told], "kwargs": {"flow": "turns"}}
    return step(FLOW, task=names.FLOW, agent=None, payload=payload)


def wake(runtime: Runtime, told: Any = None) -> Expand | Outcome:
    """Let the flow go on as a worker does, and write down what becomes of it."""
    claim = claimed(runtime.journal, FLOW, None if told is None else new(told))
    made = Step(runtime, claim)
    request = Flow.from_message(claim.payload["args"], claim.payload["kwargs"])
    result = flow_step(made, request)
    if isinstance(result, Expand):
        runtime.journal.expand(claim, result, entries=made.recorded).result(SOON)
    else:
        about: Any = {"lets_go": made.lets_go, "begins": made.begins}
        runtime.journal.finish(claim, result, entries=made.recorded, **about).result(SOON)
    return result


def end(runtime: Runtime, key: str) -> None:
    claim = claimed(runtime.journal, derived_id(FLOW, key))
    runtime.journal.finish(claim, DONE).result(SOON)


def signal(runtime: Runtime, value: str) -> None:
    journal = runtime.journal
    reply, _ = journal.flows.signal(FLOW, ("word", value), value, journal.rules)
    assert reply == "taken"


def history(runtime: Runtime) -> list[tuple[str, Any]]:
    page = runtime.journal.flows.page(FLOW, 0, 100)
    return [(line["kind"], (line.get("value") or {}).get("generation", 0)) for line in page]


def by_another(runtime: Runtime) -> None:
    """Let the flow go on as by another process, which has no instance; this one keeps its own."""
    instances = runtime.resource(Instances, lambda: Instances(0))
    kept = instances.take(FLOW)
    wake(runtime)
    if kept is not None and (other := instances.take(FLOW)) is not None:
        dropped(other.instance)
        instances.put(FLOW, kept)


def test_a_signal_behind_the_line_that_ended_the_code_is_told_the_next_generation(
    flows: Runtime,
) -> None:
    wake(flows, {"next": "waits"})
    end(flows, "1")
    signal(flows, "hello")  # it comes before anybody has looked at the end
    waits = wake(flows)
    assert isinstance(waits, Expand)
    assert waits.awaited is not None
    assert waits.awaited.heard == -1  # it was not told yet
    assert history(flows) == [("started", 1)]
    found = wake(flows)
    assert isinstance(found, Outcome)
    assert found.value == "hello"


def test_one_that_the_code_was_told_before_it_ended_is_not_told_again(flows: Runtime) -> None:
    wake(flows, {"next": "waits"})
    signal(flows, "early")
    wake(flows)
    end(flows, "1")
    found = wake(flows)  # nobody took it: it moves along
    assert isinstance(found, Outcome)
    assert found.value == "early"


def test_a_generation_that_ends_without_waiting_leaves_no_lines_of_the_one_before(
    flows: Runtime,
) -> None:
    wake(flows, {"next": "ends"})
    end(flows, "1")
    found = wake(flows)
    assert isinstance(found, Outcome)
    assert found.value == "ended"
    assert history(flows) == [("started", 1)]


@pytest.mark.parametrize(("told", "looks"), [("waits", 0), ({"next": "ends"}, 1)])
def test_only_one_that_had_members_is_told_what_they_cost(
    flows: Runtime, monkeypatch: pytest.MonkeyPatch, told: Any, looks: int
) -> None:
    looked: list[str] = []
    tally = type(flows.journal).tally

    def counts(journal: Any, step_id: str, **about: Any) -> Any:
        looked.append(step_id)
        return tally(journal, step_id, **about)

    monkeypatch.setattr(type(flows.journal), "tally", counts)
    wake(flows, told)
    if told == "waits":
        signal(flows, "ended")
    else:
        end(flows, "1")
    found = wake(flows)
    assert isinstance(found, Outcome)
    assert found.value == "ended"
    assert len(looked) == looks


def test_an_instance_of_a_generation_that_another_process_has_ended_is_begun_anew(
    flows: Runtime,
) -> None:
    """Also where it was told nothing last: a member that it let go of had ended, say."""
    wake(flows, {"next": "waits"})
    journal = flows.journal
    in_transaction(journal.engine, lambda c: joins.fire(c, FLOW, journal.rules))
    wake(flows)  # it is told nothing
    end(flows, "1")
    by_another(flows)
    assert history(flows) == [("started", 1)]
    signal(flows, "hello")
    found = wake(flows)
    assert isinstance(found, Outcome)
    assert found.value == "hello"


def test_an_end_that_another_process_has_told_it_is_not_told_again(flows: Runtime) -> None:
    wake(flows, {"then": "a word"})
    end(flows, "1")
    by_another(flows)
    signal(flows, "hello")
    found = wake(flows)
    assert isinstance(found, Outcome)
    assert found.value == "hello"
    lines = flows.journal.flows.page(FLOW, 0, 100)
    assert [line["kind"] for line in lines] == ["started", "done", "signal"]
