"""What a scenario is, and how one is run: by name, on a stand of its own, within its time."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.chaos.stand import Options, Skipped, Stand, ToppledError, stand
from tests.integration.harness import FAST

#: What a scenario tells of itself: names and figures, in the order in which they are printed.
Numbers = Mapping[str, Any]
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
        verdict = "passed"
    except Skipped as skipped:
        verdict, reason = "skipped", str(skipped)
    except ToppledError as toppled:
        numbers, reason = toppled.numbers, f"{toppled} (logs: {directory})"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this one, not the others
        (directory / "traceback").write_text(traceback.format_exc())
        first = (str(error).splitlines() or [""])[0][:300]
        reason = f"{type(error).__name__}: {first} (logs: {directory})"
    finally:
        if verdict != "failed":
            shutil.rmtree(directory, ignore_errors=True)
    return Result(chosen.name, verdict, time.monotonic() - began, numbers, reason)


def _figure(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
