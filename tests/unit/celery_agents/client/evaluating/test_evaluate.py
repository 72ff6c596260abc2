"""What goes wrong with one example is that example's; tests/integration has workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_agents import Client
from celery_agents.client.evaluating.report import EvaluationReport
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.errors import BrokerUnavailableError
from tests.support.stored_results import worker_says

EXAMPLES = [{"id": name, "input": name, "expected": name} for name in ("a", "b", "c", "d")]


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as made:
        yield made


@pytest.fixture
def cancelled(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(client.runs, "cancel", found.append)
    return found


def answering(client: Client, *silent: str) -> Callable[[Any], Any]:
    """A subject that answers what it is asked, and costs; not those that are silent."""

    def ask(asked: str) -> Any:
        run = client.ask("a", asked)
        if asked not in silent:
            done = Outcome(state=State.SUCCEEDED, usage=Usage(calls=1, cost_usd=0.25))
            worker_says(client, run.id, asked, done)
        return run

    return ask


def errors(report: EvaluationReport) -> dict[str, str]:
    return {case.id: case.error.message for case in report.cases if case.error is not None}


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_one_that_takes_too_long_is_a_case_and_is_cancelled(
    client: Client, cancelled: list[str], at_once: int
) -> None:
    found = client.evaluate(EXAMPLES, answering(client, "b"), timeout=1.5, at_once=at_once)
    assert errors(found) == {"b": "It took longer than 1.5 s."}
    assert [case.id for case in found.cases] == ["a", "b", "c", "d"]
    assert cancelled == [found.cases[1].run_id]
    assert found.metrics["exact"].mean == 0.75
    assert [case.cost_usd for case in found.cases] == [0.25, None, 0.25, 0.25]


def test_each_has_a_deadline_of_its_own(client: Client, cancelled: list[str]) -> None:
    """However many others end meanwhile."""
    began = time.monotonic()

    def ask(asked: str) -> Any:
        if asked != "silent":
            time.sleep(0.2)
        return answering(client, "silent")(asked)

    many = [{"input": "silent"}, *({"input": str(n)} for n in range(30))]
    found = client.evaluate(many, ask, timeout=1.0, at_once=2)
    (late,) = [case for case in found.cases if case.error is not None]
    assert cancelled == [late.run_id]
    assert late.latency_s < (time.monotonic() - began) / 2


def test_a_metric_that_raises_is_its_examples_error(client: Client) -> None:
    def odd(value: Any, _: Any) -> float:
        if value == "b":
            raise KeyError("api_key=sk-proj-Zx81kQpL0vN3yTr7Hs2WdJ9c")
        return float("nan") if value == "c" else 1.0

    right = lambda value, expected: value == expected  # noqa: E731
    metrics = {"odd": odd, "right": right}
    found = client.evaluate(EXAMPLES, answering(client), metrics=metrics, timeout=30)
    told = errors(found)
    assert told.keys() == {"b", "c"}
    assert told["b"].startswith("The metric odd failed: KeyError")
    assert "Zx81" not in told["b"]
    assert (found.metrics["odd"].mean, found.metrics["right"].mean) == (0.5, 1.0)
    assert found.cost_usd == 1.0


def test_an_ask_that_raises_is_its_examples_error(client: Client) -> None:
    def ask(asked: str) -> Any:
        if asked == "b":
            raise BrokerUnavailableError("it is away")
        if asked == "d":
            return None
        return answering(client)(asked)

    found = client.evaluate(EXAMPLES, ask, timeout=30, at_once=1)
    assert errors(found) == {"b": "it is away", "d": "A subject gives a run, and not NoneType."}
    assert found.metrics["exact"].mean == 0.5


def test_redis_that_is_away_for_a_moment_loses_no_case(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, away = client.runs.as_completed, [True, True]

    def as_completed(*args: Any, **kwargs: Any) -> Any:
        if away:
            away.pop()
            raise BrokerUnavailableError("it is away")
        return real(*args, **kwargs)

    monkeypatch.setattr(client.runs, "as_completed", as_completed)
    found = client.evaluate(EXAMPLES, answering(client), timeout=30)
    assert (found.failed, found.metrics["exact"].mean) == (0, 1.0)


def test_a_run_that_answers_two_examples(client: Client) -> None:
    run = answering(client)("a")
    found = client.evaluate(EXAMPLES[:2], lambda _: run, timeout=30)
    assert [case.value for case in found.cases] == ["a", "a"]


def test_a_value_of_any_kind_is_told(client: Client) -> None:
    run = client.ask("a", "x", answer=set[int])
    worker_says(client, run.id, [1])
    found = client.evaluate(EXAMPLES[:1], lambda _: run, metrics={"m": lambda *_: 1}, timeout=30)
    assert (found.failed, found.cases[0].value) == (0, [1])
