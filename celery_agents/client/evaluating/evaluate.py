"""``agents.evaluate``: every example is a run of its own, so many of them at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from celery_agents.client.evaluating.report import EvaluatedCase, EvaluationReport
from celery_agents.client.run import Run
from celery_agents.client.runs import Runs
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.contracts.vote import Decision
from celery_agents.errors import AgentsError, InvalidPayloadError

#: Scores a value by what was expected: True or False, or a number from 0 to 1.
Metric = Callable[[Any, Any], float]
#: An agent's name; a verb with its options; or a function that asks.
Subject = str | Mapping[str, Any] | Callable[[Any], Run[Any]]
#: Verbs whose subject may be an entry, and how each names those that it asks.
_VERBS = {"ask": "agent", "fallback": "candidates", "vote": "voters", "gather": "agents"}


def _exact(value: Any, expected: Any) -> float:
    if isinstance(value, str) and isinstance(expected, str):
        return float(value.strip() == expected.strip())
    return float(value == expected)


def _contains(value: Any, expected: Any) -> float:
    text = value if isinstance(value, str) else json.dumps(value)
    return float(str(expected).casefold() in text.casefold())


#: Metrics by name.
METRICS: Mapping[str, Metric] = {"exact": _exact, "contains": _contains}


class EvaluatedBy(Protocol):
    """The part of a client by which subjects are asked."""

    ask: Any
    fallback: Any
    vote: Any
    gather: Any
    runs: Runs


class EvaluateVerb:
    """``agents.evaluate(dataset, subject, metrics=…)``."""

    def __init__(self, client: EvaluatedBy) -> None:
        self._client = client

    def __call__(
        self,
        dataset: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
        subject: Subject,
        *,
        metrics: Iterable[str] | Mapping[str, Metric] = ("exact",),
        against: Subject | None = None,
        at_once: int = 16,
        timeout: float = 600.0,
    ) -> EvaluationReport:
        """Ask about each example, and measure the answers.

        Args:
            dataset: a ``.jsonl`` file, or mappings: ``input``, ``expected``, and ``id`` if need be.
            subject: an agent's name; ``{"verb": "vote", "voters": […]}``; or a function that takes
                an input and gives a run.
            metrics: names (``exact``, ``contains``), or functions of a value and what was expected,
                by their names; of a vote the value is its option.
            against: another subject that is asked the same; the report then has the differences.
            at_once: so many runs at a time. An example's latency is that of its run, with the time
                for which it waits for a worker.
            timeout: for each of them.

        Raises:
            InvalidPayloadError: the dataset or the subject cannot be read.
        """
        examples = list(_examples(dataset))
        if not examples or at_once < 1:
            raise InvalidPayloadError("An evaluation needs examples, and at_once of 1 or more.")
        wanted = _metrics(metrics)
        found = self._report(examples, subject, wanted, (at_once, timeout))
        if against is None:
            return found
        return found.compared(self._report(examples, against, wanted, (at_once, timeout)))

    def _report(
        self,
        examples: list[dict[str, Any]],
        subject: Subject,
        metrics: Mapping[str, Metric],
        bounds: tuple[int, float],
    ) -> EvaluationReport:
        (at_once, timeout), ask, cases = bounds, self._asking(subject), {}
        left = iter(examples)
        going: dict[str, tuple[dict[str, Any], Run[Any], float]] = {}
        while True:
            for example in islice(left, at_once - len(going)):
                begun = time.monotonic()
                run = ask(example["input"])
                going[run.id] = example, run, begun
            if not going:
                break
            runs = [run for _, run, _ in going.values()]
            for run in islice(self._client.runs.as_completed(runs, timeout=timeout), 1):
                example, _, begun = going.pop(run.id)
                cases[example["id"]] = _case(example, run, time.monotonic() - begun, metrics)
        return EvaluationReport.of(_name(subject), [cases[e["id"]] for e in examples])

    def _asking(self, subject: Subject) -> Callable[[Any], Run[Any]]:
        if isinstance(subject, str):
            return lambda asked: self._client.ask(subject, asked)
        if callable(subject):
            return subject
        options = dict(subject)
        verb = options.pop("verb", "ask")
        if verb not in _VERBS or _VERBS[verb] not in options:
            known = ", ".join(f"{name} with {of}" for name, of in _VERBS.items())
            raise InvalidPayloadError(f"A subject is one of: {known}.")
        whom = options.pop(_VERBS[verb])
        return lambda asked: getattr(self._client, verb)(whom, asked, **options)


def _case(
    example: dict[str, Any], run: Run[Any], took_s: float, metrics: Mapping[str, Metric]
) -> EvaluatedCase:
    error: ErrorInfo | None = None
    value: Any = None
    try:
        value = run.get(timeout=1.0)
    except AgentsError as raised:
        error = ErrorInfo.of(raised)
    outcome = run.outcome()
    if isinstance(value, Decision):
        value = value.option
    expected = example.get("expected")
    scores = {
        name: 0.0 if error is not None else float(metric(value, expected))
        for name, metric in metrics.items()
    }
    plain: JsonValue = value if not hasattr(value, "compact") else value.compact()
    return EvaluatedCase(
        id=example["id"],
        run_id=run.id,
        value=plain,
        error=error,
        scores=scores,
        cost_usd=None if outcome is None else outcome.usage.cost_usd,
        latency_s=took_s,
    )


def _metrics(given: Iterable[str] | Mapping[str, Metric]) -> Mapping[str, Metric]:
    if isinstance(given, Mapping):
        return given
    names = list(given)
    if unknown := [name for name in names if name not in METRICS]:
        raise InvalidPayloadError(f"There is no metric {unknown[0]!r}, but {', '.join(METRICS)}.")
    return {name: METRICS[name] for name in names}


def _examples(dataset: Any) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    rows = _rows(Path(dataset)) if isinstance(dataset, str | os.PathLike) else dataset
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or "input" not in row:
            raise InvalidPayloadError(f"Example {number} has no input.")
        name = str(row.get("id", number))
        if name in seen:
            raise InvalidPayloadError(f"Two examples have the id {name!r}.")
        seen.add(name)
        yield {**row, "id": name}


def _rows(path: Path) -> Iterator[Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidPayloadError(f"The dataset {path} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                raise InvalidPayloadError(f"{path}, line {number} is no JSON.") from None


def _name(subject: Subject) -> str:
    if isinstance(subject, str):
        return subject
    if callable(subject):
        return str(getattr(subject, "__name__", "function"))
    return json.dumps(dict(subject), default=str)
