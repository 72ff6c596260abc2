"""``agents.evaluate``: every example is a run of its own, so many of them at a time."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

from celery_agents.client.evaluating.report import EvaluatedCase, EvaluationReport
from celery_agents.client.run import Run
from celery_agents.client.runs import Runs
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.contracts.vote import Decision
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    InvalidPayloadError,
    ResultTimeoutError,
    redact,
)
from celery_agents.noted import note
from celery_agents.values import jsonable

log = logging.getLogger(__name__)

#: Scores a value by what was expected: True or False, or a number from 0 to 1.
Metric = Callable[[Any, Any], float]
#: An agent's name; a verb with its options; or a function that asks.
Subject = str | Mapping[str, Any] | Callable[[Any], Run[Any]]
#: One that has ended is there at once; and the pause while Redis is away.
_LOOK_S, _AGAIN_S = 1.0, 0.5
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
            timeout: for each of them; one that takes longer is cancelled, and has failed. As has
                one about which asking, or whose metric, raises: the others are not lost by that.

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
        at_once, timeout = bounds
        ask, cases, left = self._asking(subject), dict[str, EvaluatedCase](), iter(examples)
        going: list[_Going] = []
        while True:
            for example in islice(left, at_once - len(going)):
                try:
                    going.append(_Going.asked(example, ask))
                except Exception as error:  # noqa: BLE001 - what the others cost is paid
                    cases[example["id"]] = _failed(example, ErrorInfo.of(error), metrics)
            if not going and len(cases) == len(examples):
                return EvaluationReport.of(_name(subject), [cases[e["id"]] for e in examples])
            for one in self._ended(going, timeout):
                going.remove(one)
                cases[one.example["id"]] = one.case(metrics, timeout)

    def _ended(self, going: Sequence[_Going], timeout: float) -> list[_Going]:
        """Those that ended, and those whose time is over, once there are such."""
        if not going:
            return []
        give_up = min(one.begun for one in going) + timeout
        ended = set[str]()
        try:
            within = max(give_up - time.monotonic(), 0.0)
            runs = [one.run for one in going]
            ended = {r.id for r in islice(self._client.runs.as_completed(runs, timeout=within), 1)}
        except ResultTimeoutError:
            pass
        except AgentsError as error:  # Redis is away; the runs are not
            note(log, "evaluate", "The ends of runs cannot be read", error=error)
            time.sleep(_AGAIN_S)
        now = time.monotonic()
        return [one for one in going if one.run.id in ended or one.begun + timeout <= now]

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


@dataclass(eq=False)
class _Going:
    """An example that was asked about."""

    example: dict[str, Any]
    run: Run[Any]
    begun: float

    @classmethod
    def asked(cls, example: dict[str, Any], ask: Callable[[Any], Run[Any]]) -> Self:
        """Ask about an example."""
        begun = time.monotonic()
        run: object = ask(example["input"])
        if not isinstance(run, Run):
            raise InvalidPayloadError(f"A subject gives a run, and not {type(run).__name__}.")
        return cls(example, run, begun)

    def case(self, metrics: Mapping[str, Metric], timeout: float) -> EvaluatedCase:
        """The case of a run that has ended; one that has not is cancelled, and is a failed one."""
        took_s = time.monotonic() - self.begun
        error: ErrorInfo | None = None
        value: Any = None
        try:
            if self.run.ready():
                value = self.run.get(timeout=_LOOK_S)
            else:
                error = ErrorInfo.of(ResultTimeoutError(f"It took longer than {timeout:g} s."))
                self.run.cancel()
        except Exception as raised:  # noqa: BLE001 - of whoever reads the value, too
            error = error or ErrorInfo.of(raised)
        if isinstance(value, Decision):
            value = value.option
        scores = dict.fromkeys(metrics, 0.0)
        if error is None:
            scores, error = _scored(metrics, value, self.example.get("expected"))
        told: JsonValue = jsonable(value if not hasattr(value, "compact") else value.compact())
        return EvaluatedCase(
            id=self.example["id"],
            run_id=self.run.id,
            value=told,
            error=error,
            scores=scores,
            cost_usd=_cost(self.run),
            latency_s=took_s,
        )


def _cost(run: Run[Any]) -> float | None:
    try:
        outcome = run.outcome()
    except Exception as error:  # noqa: BLE001 - the case is worth more than its cost
        note(log, "evaluate", "The cost of a run cannot be read", error=error)
        return None
    return None if outcome is None else outcome.usage.cost_usd


def _scored(
    metrics: Mapping[str, Metric], value: Any, expected: Any
) -> tuple[dict[str, float], ErrorInfo | None]:
    """The scores of a value, and the error of the first metric that gave none: that scores 0."""
    scores, failed = dict[str, float](), None
    for name, metric in metrics.items():
        try:
            scores[name] = _finite(metric(value, expected))
        except Exception as error:  # noqa: BLE001 - somebody else's code
            scores[name] = 0.0
            why = f"The metric {name} failed: {type(error).__name__}: {error}"
            failed = failed or ErrorInfo.of(AgentFailedError(redact(why)))
    return scores, failed


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise ValueError(f"{score} is no score")
    return float(score)


def _failed(
    example: dict[str, Any], error: ErrorInfo, metrics: Mapping[str, Metric]
) -> EvaluatedCase:
    """The case of an example for which there is no run."""
    scores = dict.fromkeys(metrics, 0.0)
    return EvaluatedCase(id=example["id"], run_id="", error=error, scores=scores, latency_s=0.0)


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
