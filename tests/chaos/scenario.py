"""Scenarios, and running one: by name, on a stand of its own, within its time."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.chaos.sabotage import WITHOUT
from tests.chaos.stand import Options, Skipped, Stand, ToppledError, stand
from tests.integration.harness import FAST
from tests.support.workers import NotReadyError

#: What a scenario tells of itself: names and figures, in the order in which they are printed.
Numbers = Mapping[str, Any]
#: Characters of the log that are told of a worker that does not start; its end says why.
_LOG_SHOWN = 3000
Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to harm a service, with what has to hold afterwards."""

    name: str
    run: Callable[[Stand], Numbers]
    settings: Mapping[str, str]
    journal: Literal["sqlite", "postgres"] | None  # None: the one that was asked for
    fsync: Literal["everysec", "always"]


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    verdict: Verdict
    seconds: float
    numbers: Numbers = field(default_factory=dict)
    reason: str = ""

    def __str__(self) -> str:
        told = ", ".join(f"{k.replace('_', ' ')} {_figure(v)}" for k, v in self.numbers.items())
        text = "; ".join(filter(None, [self.reason, told]))
        return f"{self.verdict:<8}{self.name:<22}{self.seconds:>7.1f} s  {text}"


#: Every scenario by its name, in the order of their definition.
SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    settings: Mapping[str, str] = FAST,
    journal: Literal["sqlite", "postgres"] | None = None,
    fsync: Literal["everysec", "always"] = "everysec",
) -> Callable[[Callable[[Stand], Numbers]], Callable[[Stand], Numbers]]:
    """Register a function ``(stand) -> numbers``; it raises AssertionError when a promise breaks.

    Args:
        settings: environment of the workers; leases are short unless said otherwise.
        journal: the only journal on which it makes sense.
        fsync: how soon the broker's append-only file is on disk.
    """

    def register(run: Callable[[Stand], Numbers]) -> Callable[[Stand], Numbers]:
        assert name not in SCENARIOS, f"two scenarios are named {name}"
        SCENARIOS[name] = Scenario(name, run, settings, journal, fsync)
        return run

    return register


def run_scenario(chosen: Scenario, options: Options) -> Result:
    """Run one on servers and workers of its own; all of them have ended when this returns.

    With ``options.sabotage`` it has to break its promise in order to pass.
    The directory with the logs is kept when it fails, and named in the reason.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"celery-agents-chaos-{chosen.name}-"))
    began = time.monotonic()
    verdict: Verdict = "failed"
    numbers: Numbers = {}
    reason = ""
    try:
        ground = stand(
            chosen.name,
            directory,
            options,
            journal=chosen.journal or options.journal,
            settings=chosen.settings,
            fsync=chosen.fsync,
        )
        with ground as made:
            numbers = chosen.run(made)
    except Skipped as skipped:
        verdict, reason = "skipped", str(skipped)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this one, not the others
        if options.sabotage and isinstance(error, AssertionError):
            verdict = "passed"  # as it should: not by an accident, but by what it asserts
        numbers = getattr(error, "numbers", {})
        reason = _reason(error)
        if isinstance(error, NotReadyError):
            reason += f"\n{error.log[-_LOG_SHOWN:]}"
        (directory / "traceback").write_text(traceback.format_exc())
    else:
        verdict = "failed" if options.sabotage else "passed"
    if options.sabotage:
        reason = f"{WITHOUT[chosen.name].__name__}: {reason or 'nothing was noticed'}"
    if verdict == "failed":
        reason += f" (logs: {directory})"
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return Result(chosen.name, verdict, time.monotonic() - began, numbers, reason)


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0][:300]
    return first if isinstance(error, ToppledError) else f"{type(error).__name__}: {first}"


def _figure(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
