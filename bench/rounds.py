"""Playing a round: one case, one contestant, fresh servers, fresh workers, one client."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contestant import Case, Contestant
from bench.meter import Meter, Usage
from bench.servers import Servers
from bench.workload import Workload
from deploy.local.child import Child
from deploy.local.state import ROOT

_LOG_TAIL_LINES = 15
_LINE = 200


@dataclass(frozen=True)
class Round:
    """The result of one round: figures, or why there are none."""

    figures: Mapping[str, float] = field(default_factory=dict)
    worker: Usage = field(default_factory=Usage)
    client: Usage = field(default_factory=Usage)
    versions: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None


def play(
    servers: Servers, contestant: Contestant, workload: Workload, case: Case, python: Path
) -> Round:
    """Play one round; whatever goes wrong is its failure."""
    with servers.fresh(contestant) as fresh, ExitStack() as stack:
        environ = {
            **fresh,
            **contestant.environment(workload.name, case),
            "PATH": f"{python.parent}:{fresh['PATH']}",
        }
        scene = _Scene(contestant, workload, case, python, environ)
        try:
            contestant.prepare(environ)
            if workload.prepare is not None:
                scene.client("prepare")
            workers = stack.enter_context(scene.workers())
            told = scene.client("measure", [worker.pid for worker in workers])
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            return Round(failure=f"{error}\n{_logs(scene.directory)}".strip())
    return Round(**told)


@dataclass(frozen=True)
class _Scene:
    """The processes of one round, on servers that are up."""

    contestant: Contestant
    workload: Workload
    case: Case
    python: Path
    environ: Mapping[str, str]

    @property
    def directory(self) -> Path:
        return Path(self.environ["BENCH_DIRECTORY"])

    @contextmanager
    def workers(self) -> Iterator[list[Child]]:
        """The worker processes, until the block ends."""
        commands = self.contestant.workers(str(self.python), self.workload.name, self.case)
        children: list[Child] = []
        try:
            for number, command in enumerate(commands * self.workload.workers):
                children.append(
                    Child(
                        command,
                        pid_file=self.directory / f"worker-{number}.pid",
                        output=self.directory / f"worker-{number}.log",
                        env={**self.environ, "WORKER_NAME": f"worker-{number}@bench"},
                        cwd=ROOT,
                    )
                )
            yield children
        finally:
            for child in children:
                child.kill()  # all that was asked for has been read

    def client(self, phase: str, workers: Sequence[int] = ()) -> dict[str, Any]:
        """Run the client for one phase: what it told at its end, and what was used meanwhile.

        Raises:
            RuntimeError: it failed, or took too long.
        """
        order = {
            "phase": phase,
            "family": self.contestant.family,
            "workload": self.workload.name,
            "case": dict(self.case),
            "packages": self.contestant.packages,
        }
        with (self.directory / f"client-{phase}.log").open("w") as errors:
            process = subprocess.Popen(
                [str(self.python), "-m", "bench.client", json.dumps(order)],
                env=self.environ,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        timer = _Deadline(process, self.workload.start_s)
        meters = {"worker": Meter(workers), "client": Meter([process.pid])}
        last, told = "started", {}
        try:
            assert process.stdout is not None
            for line in process.stdout:
                told = json.loads(line)
                last = told.pop("event")
                if last == "begin":
                    timer.restart(self.workload.limit_s)
                    _each(meters, Meter.begin)
                elif last == "measured":
                    _each(meters, Meter.end)
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            _each(meters, Meter.close)
        if timer.passed:
            raise RuntimeError(f"{phase}: over {timer.limit_s:.0f} s (last seen: {last})")
        if last != "end":
            raise RuntimeError(f"{phase}: {told.get('error', 'the client died')}")
        return {**told, **{name: meter.usage for name, meter in meters.items()}}


def _each(meters: Mapping[str, Meter], do: Callable[[Meter], None]) -> None:
    for meter in meters.values():
        do(meter)


class _Deadline:
    """Kills a process when its time is over."""

    def __init__(self, process: subprocess.Popen[str], limit_s: float) -> None:
        self._process = process
        self.passed = False
        self.restart(limit_s, first=True)

    def restart(self, limit_s: float, *, first: bool = False) -> None:
        """From now on it has this long."""
        if not first:
            self.cancel()
        self.limit_s = limit_s
        self._timer = threading.Timer(limit_s, self._over)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _over(self) -> None:
        self.passed = True
        self._process.kill()


def _logs(directory: Path) -> str:
    """The last lines of every log of the round."""
    tails = []
    for log in sorted(directory.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        if lines:
            tails.append("\n".join([f"--- {log.name}", *(line[:_LINE] for line in lines)]))
    return "\n".join(tails)
