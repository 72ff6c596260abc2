"""The wheel in a clean environment, with packages of others that are named as the service's are."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from celery_agents import Client
from deploy.local.state import ROOT
from deploy.wheel import HOME, PACKAGES, statements
from tests.integration.harness import SOON_S, eventually
from tests.support import INSTALLED, forks
from tests.support.drawn import is_full
from tests.support.ports import free_port
from tests.support.wheel import Site, modules_having, run
from tests.support.workers import WorkerProcess, unique_name

pytestmark = [pytest.mark.databases("none"), pytest.mark.slow, pytest.mark.timeout(600)]

PROJECTS = ROOT / "tests" / "support" / "projects"
#: A line that imports one of them, or may: what else stands in a file has to be read by few.
IMPORTS = re.compile(rf"\b(from|import)\b[^\n]*(?<![\w.])({'|'.join(PACKAGES)})\b")


@pytest.fixture(scope="module")
def site(disk: Path) -> Site:
    """Its ``python -m celery`` is a fork of a process that has imported the service."""
    made = Site(disk / "site")
    assert forks.nursery is not None
    forks.nursery.know(made.bin / "python", forks.Wheel(made.folder / "project", HOME))
    return made


class Processes:
    """What a test has running in a project."""

    def __init__(self, site: Site, project: Path, env: Mapping[str, str]) -> None:
        self.site, self.project, self.env = site, project, dict(env)
        self._started: list[WorkerProcess] = []

    def start(self, *argv: str) -> WorkerProcess:
        """Start a program with these arguments, in the project's folder."""
        env = self.site.environment(self.env)
        command = self._command(argv)
        name = unique_name()
        process = WorkerProcess(
            name, command, env=env, directory=self.project.parent, cwd=self.project
        )
        self._started.append(process)
        process.start()
        return process

    def run(self, *argv: str) -> str:
        """Run a program to its good end; what it printed."""
        env = self.site.environment(self.env)
        done = forks.run(self._command(argv), env, self.project, 120)
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _command(self, argv: Sequence[str]) -> list[str]:
        return [str(self.site.bin / argv[0]), *argv[1:]]

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


#: Celery's command as a module of the environment: a fork of what has imported the service.
CELERY = ("python", "-m", "celery", "-A")
WORKER = (
    "worker",
    "--concurrency",
    "8",
    "--without-mingle",
    "--without-gossip",
    "--loglevel",
    "INFO",
)


@pytest.mark.parametrize("processes", ["beside"], indirect=True)
def test_the_service(processes: Processes, redis_url: str) -> None:
    processes.env["AGENTS_CONFIG"] = str(processes.project / "agents.toml")
    processes.env["AGENTS_HEALTH_INTERVAL_S"] = "1"
    processes.run(*CELERY, HOME, "agents", "db", "upgrade")
    worker = processes.start(*CELERY, HOME, *WORKER)
    beat = processes.start(*CELERY, HOME, "beat", "--loglevel", "INFO")
    port = free_port()
    conf = processes.run("python", "-m", f"{HOME}.deploy.flowerconfig").strip()
    address = ["--address=127.0.0.1", f"--port={port}"]
    processes.start(*CELERY, HOME, "flower", f"--conf={conf}", *address)

    worker.wait_ready()
    with Client(redis_url) as client:
        assert client.ask("whose", "x").get(timeout=SOON_S) == {
            "app": "the project",
            "tasks": "the project",
            "agents": "another distribution",
            "attempt": 1,
            "four": 4,
        }
        decision = client.vote(["yes", "yes", "written"], "x", stop="none").get(timeout=SOON_S)
        assert (decision.option, decision.tally) == ("yes", {"yes": 2, "as written": 1})
        chained = client.ask.s("shout", "hello") | client.ask.s("shout")
        assert chained.apply_async().get(timeout=SOON_S) == "HELLO"
    assert processes.run(*CELERY, HOME, "agents", "ask", "shout", "hi") == "HI\n"
    assert "scripted" in processes.run(*CELERY, HOME, "agents", "list")
    beat.wait_for_log("probe-health")
    eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthcheck"), "Flower answers")


@pytest.mark.parametrize("processes", ["beside"], indirect=True)
def test_its_app_names_its_own_modules(processes: Processes) -> None:
    code = f"""
import sys
from kombu.utils.imports import symbol_by_name
from {HOME} import celery, install, tool
conf = celery.conf
for name in (conf.broker_transport, conf.worker_consumer, conf.result_backend.split("+")[0]):
    print(symbol_by_name(name).__module__)
celery.loader.import_default_modules()
print(celery.tasks["agents.ask"].run.__module__, celery.agents_cli)
print([n for n in {sorted(PACKAGES)} if n in sys.modules])
"""
    processes.env["AGENTS_MODULES"] = "[]"  # the project's are of its own packages
    assert processes.run("python", "-c", code).splitlines() == [
        f"{HOME}.app.messaging.transport",
        f"{HOME}.app.messaging.consumer",
        f"{HOME}.app.messaging.results",
        f"{HOME}.tasks.ask {HOME}.app.cli.commands:commands",
        "[]",
    ]


def test_no_import_of_it_is_of_the_top_level(site: Site) -> None:
    service = site.packages.joinpath(*HOME.split("."))
    assert {path.name for path in service.iterdir()} >= PACKAGES
    for file, tree in modules_having(service.parent, IMPORTS):
        for node in statements(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not PACKAGES & {name.split(".")[0] for name in names}, (file, names)


@pytest.mark.parametrize("processes", ["inside"], indirect=True)
def test_embedded(processes: Processes) -> None:
    processes.start("celery", "-A", "tasks", *WORKER).wait_ready()
    said = processes.run("python", "ask.py")
    assert said == "the project | noted: the project\n"


#: Code in this process and in workers, asks, a step whose worker is killed, canvases, patterns.
PART = [
    "test_support.py::TestWorkers::test_the_service_is_the_one_that_is_tested",
    "test_support.py::TestWorkers::test_this_process_has_its_code",
    "test_breaker.py::test_the_script_and_the_rules_agree",
    "test_client.py::TestAsk",
    "test_faults.py::TestKilledWorker::test_its_steps_run_elsewhere",
    "test_client.py::TestCanvas",
    "test_patterns.py",
]


@pytest.mark.skipif(not is_full(), reason="in full: it runs a part of the suite again")
@pytest.mark.usefixtures("broker")
def test_a_part_of_the_tests(site: Site) -> None:
    """As ``./run test --installed`` runs them."""
    env = {**os.environ, INSTALLED: str(site.folder)}
    part = [f"tests/integration/{tests}" for tests in PART]
    run(sys.executable, "-m", "pytest", "-q", *part, env=env)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
