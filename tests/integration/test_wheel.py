"""The wheel in a clean environment, with packages of others that are named as the service's are."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

import pytest

from celery_agents import Client
from deploy.local.servers import free_port
from deploy.local.state import ROOT
from tests.integration.harness import SOON_S, eventually
from tests.support.workers import WorkerProcess, unique_name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROJECTS = ROOT / "tests" / "support" / "projects"
SERVICE = "celery_agents.service"
#: Stands for openai-agents, whose top-level package has this name.
OTHERS = 'class Agent:\n    OWNER = "another distribution"\n'


def _run(*argv: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Site:
    """An environment with the wheel, and what is started in it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        python = str(self.bin / "python")
        venv.create(folder / "venv", with_pip=True)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
        _run(*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT))
        (wheel,) = folder.glob("*.whl")
        known = folder / "versions.txt"  # those that the other tests run with
        known.write_text("".join(f"{d.name}=={d.version}\n" for d in distributions()))
        _run(*pip, "install", "-c", str(known), f"{wheel}[worker]")
        packages = Path(_run(python, "-c", "import sysconfig as s; print(s.get_path('purelib'))"))
        packages = Path(str(packages).strip())
        (packages / "agents").mkdir()  # fails if the wheel has one
        (packages / "agents" / "__init__.py").write_text(OTHERS)

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Without the checkout."""
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", "")])
        return {"PATH": path, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1", **extra}

    def run(self, *argv: str, cwd: Path, env: Mapping[str, str]) -> str:
        return _run(str(self.bin / argv[0]), *argv[1:], cwd=cwd, env=self.environment(env))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


class Processes:
    """What a test has running in a project."""

    def __init__(self, site: Site, project: Path, env: Mapping[str, str]) -> None:
        self.site, self.project, self.env = site, project, dict(env)
        self._started: list[WorkerProcess] = []

    def start(self, *argv: str) -> WorkerProcess:
        """Start ``celery`` with these arguments, in the project's folder."""
        command = [str(self.site.bin / "celery"), *argv]
        env = self.site.environment(self.env)
        name = unique_name()
        process = WorkerProcess(
            name, command, env=env, directory=self.project.parent, cwd=self.project
        )
        self._started.append(process)
        process.start()
        return process

    def run(self, *argv: str) -> str:
        return self.site.run(*argv, cwd=self.project, env=self.env)

    def close(self) -> None:
        for process in self._started:
            process.kill()


@pytest.fixture
def processes(
    request: pytest.FixtureRequest, site: Site, redis_url: str, tmp_path: Path
) -> Iterator[Processes]:
    """Processes in a copy of the project that the test names, on an empty broker and journal."""
    project = tmp_path / "project"
    shutil.copytree(PROJECTS / request.param, project)
    env = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'journal.db'}",
        "AGENTS_MODULES": "offered",
    }
    made = Processes(site, project, env)
    yield made
    made.close()


def _worker(app: str, *queues: str) -> Sequence[str]:
    options = ["--concurrency", "8", "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    return ["-A", app, "worker", *options, *queues]


@pytest.mark.parametrize("processes", ["beside"], indirect=True)
def test_the_service(processes: Processes, redis_url: str) -> None:
    processes.env["AGENTS_CONFIG"] = str(processes.project / "agents.toml")
    processes.env["AGENTS_HEALTH_INTERVAL_S"] = "1"
    processes.run("celery", "-A", SERVICE, "agents", "db", "upgrade")
    worker = processes.start(*_worker(SERVICE))
    beat = processes.start("-A", SERVICE, "beat", "--loglevel", "INFO")
    port = free_port()
    conf = processes.run("python", "-m", f"{SERVICE}.deploy.flowerconfig").strip()
    address = ["--address=127.0.0.1", f"--port={port}"]
    processes.start("-A", SERVICE, "flower", f"--conf={conf}", *address)

    worker.wait_ready(60)
    with Client(redis_url) as client:
        assert client.ask("whose", "x").get(timeout=SOON_S) == {
            "app": "the project",
            "tasks": "the project",
            "agents": "another distribution",
            "attempt": 1,
            "four": 4,
        }
        decision = client.vote(["yes", "yes", "written"], "x").get(timeout=SOON_S)
        assert (decision.option, decision.tally) == ("yes", {"yes": 2, "as written": 1})
        chained = client.ask.s("shout", "hello") | client.ask.s("shout")
        assert chained.apply_async().get(timeout=SOON_S) == "HELLO"
    assert processes.run("celery", "-A", SERVICE, "agents", "ask", "shout", "hi") == "HI\n"
    assert "scripted" in processes.run("celery", "-A", SERVICE, "agents", "list")
    beat.wait_for_log("probe-health")
    eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthcheck"), "Flower answers")


@pytest.mark.parametrize("processes", ["inside"], indirect=True)
def test_embedded(processes: Processes) -> None:
    processes.start(*_worker("tasks")).wait_ready(60)
    said = processes.run("python", "ask.py")
    assert said == "the project | noted: the project\n"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
