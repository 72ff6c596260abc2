"""Those who run a team: a worker of ours, and processes of DBOS, each with its framework."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from bench.one_worker import QUIET
from bench.venvs import python_of
from celery_agents import Client, RetryPolicy, Run
from deploy.local.child import Child
from deploy.local.state import ROOT
from tests.integration.harness import FAST, eventually
from tests.support.redis_server import RedisServer
from tests.support.service import SERVICE
from tests.support.wheel import Site
from tests.support.workers import WorkerProcess, migrate

PROJECT = ROOT / "bench" / "frameworks" / "project"
#: What DBOS's part needs, by framework.
RIVALS: Mapping[str, Sequence[str]] = {
    "pydantic_ai": ("pydantic-ai-slim[dbos,openai]==2.68.0", "dbos==3.4.0"),
    "openai_agents": ("dbos-openai-agents==0.3.0", "openai-agents==0.24.0", "dbos==3.4.0"),
}
SOON_S = 120.0
#: Kills are attempts; when one is given up is not what is measured.
_PATIENT = RetryPolicy(max_attempts=30, base_delay_s=0.1, max_delay_s=1.0)
_OURS_SLOTS = "64"


class TeamProcess(Protocol):
    """One process that runs a team, and can be killed."""

    def start(self) -> None:
        """Start the process, and wait until it serves."""

    def kill(self) -> None:
        """End the process by SIGKILL."""

    def ask(self, ids: Sequence[str]) -> None:
        """Have runs of these ids begun."""

    def ended(self) -> Mapping[str, Any]:
        """Runs that have ended: their value, or their error."""


class WorkerTeam:
    """A worker of the wheel."""

    def __init__(
        self,
        framework: str,
        site: Site,
        broker: RedisServer,
        folder: Path,
        env: Mapping[str, str],
    ) -> None:
        journal = f"sqlite:///{folder / 'journal.db'}"
        migrate(journal)
        url = broker.fresh_url()
        about = {
            **FAST,
            **env,
            "AGENTS_CONFIG": str(PROJECT / "agents.toml"),
            "REDIS_URL": url,
            "DATABASE_URL": journal,
            "PYTHONPATH": str(PROJECT),
            "OPENAI_API_KEY": "sk-x",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }
        options = ["--hostname", "team@bench", "--loglevel", "INFO", "--concurrency", _OURS_SLOTS]
        command = [str(site.bin / "celery"), "-A", "celery_agents.service", "worker", *options]
        self._worker = WorkerProcess(
            "team@bench",
            [*command, *QUIET],
            env={**site.environment(about), "PYTHONDONTWRITEBYTECODE": ""},
            directory=folder,
            cwd=PROJECT,
        )
        self._agent = framework
        self._client = Client(url)
        self._runs: dict[str, Run[Any]] = {}

    def start(self) -> None:
        """Start the worker."""
        self._worker.start()
        self._worker.wait_ready(SOON_S)

    def kill(self) -> None:
        """Kill the worker."""
        self._worker.kill()

    def ask(self, ids: Sequence[str]) -> None:
        """Ask the lead."""
        for id_ in ids:
            self._runs[id_] = self._client.ask(self._agent, id_, retry=_PATIENT)

    def ended(self) -> Mapping[str, Any]:
        """Look at the outcomes."""
        found = {id_: run.outcome() for id_, run in self._runs.items()}
        return {id_: told.value or told.error for id_, told in found.items() if told is not None}


class DbosTeam:
    """A process of DBOS; it goes on with its workflows as it starts."""

    def __init__(self, framework: str, folder: Path, env: Mapping[str, str]) -> None:
        self._python = python_of(f"dbos-{framework}", RIVALS[framework])
        self._command = [str(self._python), str(PROJECT / f"{framework}_with_dbos.py")]
        self._folder = folder
        self._env = {
            **SERVICE.environment({}),
            **env,
            "PYTHONPATH": str(PROJECT),
            "DATABASE_URL": f"sqlite:///{folder / 'dbos.db'}",
            "TEAM_FOLDER": str(folder),
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }
        self._child: Child | None = None
        self._log = folder / "process.log"

    def start(self) -> None:
        """Start the process."""
        read = self._log.stat().st_size if self._log.exists() else 0
        self._child = Child(
            self._command,
            pid_file=self._folder / "pid",
            output=self._log,
            env=self._env,
            cwd=self._folder,
        )
        child = self._child

        def serves() -> bool:
            told = self._log.read_bytes()[read:].decode(errors="replace")
            if child.returncode is not None:
                raise RuntimeError(f"It ended with {child.returncode}:\n{told}")
            return "serves" in told

        eventually(serves, "it serves", timeout_s=SOON_S)

    def kill(self) -> None:
        """Kill the process."""
        if self._child is not None:
            self._child.kill()

    def ask(self, ids: Sequence[str]) -> None:
        """Write down what is to be run."""
        with (self._folder / "asked").open("a") as file:
            file.write("".join(f"{id_}\n" for id_ in ids))

    def ended(self) -> Mapping[str, Any]:
        """Read what it has written."""
        file = self._folder / "ended"
        told = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
        return {one["id"]: one.get("value") or one["error"] for one in told}


@contextmanager
def made(
    name: str, site: Site, broker: RedisServer, folder: Path, env: Mapping[str, str]
) -> Iterator[TeamProcess]:
    """A contestant ``ours-…`` or ``dbos-…`` of a framework; its process ends with the block."""
    who, _, framework = name.partition("-")
    one: TeamProcess = (
        WorkerTeam(framework, site, broker, folder, env)
        if who == "ours"
        else DbosTeam(framework, folder, env)
    )
    try:
        yield one
    finally:
        one.kill()
