"""The servers and workers of the tests do what the tests rely on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import psutil
import pytest
import redis
from pytest_celery import CeleryTestSetup
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from agents.catalog import registry
from app import layout
from app.layout import qualified
from celery_agents import redaction
from deploy.local import locks
from deploy.local.state import ROOT
from tests.integration.harness import SOON_S, Stack, eventually
from tests.support import forks, ports, sample_app
from tests.support.drawn import in_turn
from tests.support.fixtures import WorkerFactory
from tests.support.postgres import Databases, PostgresServer, binaries, engine
from tests.support.redis_server import RedisServer
from tests.support.scratch import scratch
from tests.support.service import CHECKOUT, SERVICE
from tests.support.vendors import DOCKER
from tests.support.workers import worker_command

pytestmark = pytest.mark.databases("none")

SHOP = ["--pool", "threads", "--concurrency", "2", "-Q", "shop"]


class TestPorts:
    def test_nobody_else_is_given_one_that_is_reserved(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = ports.free_port()
        monkeypatch.setattr(ports, "CHOICE", range(port, port + 1))
        with pytest.raises(RuntimeError, match="is free"):
            ports.free_port()
        code = f"from tests.support import ports; ports.CHOICE = range({port}, {port + 1})\n"
        asked = [sys.executable, "-c", f"{code}ports.free_port()"]
        other = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert "is free" in other.stderr


class TestRedisServer:
    def test_keeps_what_it_acknowledged_through_a_kill(self, own_broker: RedisServer) -> None:
        with own_broker.client() as client:
            client.set("kept", "yes")
            client.execute_command("WAITAOF", 1, 0, 5000)
        before = own_broker.url
        own_broker.kill()
        assert not own_broker.running
        own_broker.start()
        assert own_broker.url == before
        with own_broker.client() as client:
            assert client.get("kept") == "yes"

    def test_wipe_loses_everything(self, own_broker: RedisServer) -> None:
        with own_broker.client(3) as client:
            client.set("lost", "yes")
            own_broker.wipe()
            assert client.get("lost") is None

    def test_frozen_server_answers_again_when_it_goes_on(self, own_broker: RedisServer) -> None:
        url = f"{own_broker.url}?socket_timeout=0.3"
        own_broker.pause()
        with redis.Redis.from_url(url, retry=None) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        own_broker.resume()
        with own_broker.client() as client:
            assert client.ping()

    def test_strangers_are_refused(self, own_broker: RedisServer) -> None:
        with (
            redis.Redis(port=own_broker.port, retry=Retry(NoBackoff(), 0)) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()

    def test_each_test_gets_an_empty_database(self, broker: RedisServer, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            assert client.dbsize() == 0
            client.set("here", "yes")
        with broker.client(0) as other:
            assert other.get("here") is None


@pytest.mark.postgres
class TestPostgres:
    def test_databases_are_apart(self, postgres: Databases, postgres_url: str) -> None:
        with engine(postgres_url).connect() as connection:
            connection.execute(text("CREATE TABLE here (x int)"))
            assert connection.scalar(text("SHOW fsync")) == "on"
        other = postgres.create()
        try:
            with engine(other).connect() as connection, pytest.raises(ProgrammingError):
                connection.execute(text("SELECT * FROM here"))
        finally:
            postgres.drop(other)

    def test_survives_a_kill(self, postgres: Databases, postgres_url: str) -> None:
        if not isinstance(postgres, PostgresServer):
            pytest.skip("the server is not ours to kill")
        with engine(postgres_url).connect() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT 7 AS x"))
            postgres.kill()
            with pytest.raises(OperationalError):
                connection.execute(text("SELECT 1"))
        postgres.start()
        with engine(postgres_url).connect() as connection:
            assert connection.scalar(text("SELECT x FROM kept")) == 7


STARTER = """
import os, signal, sys, psutil
from pathlib import Path
from tests.support import forks
from tests.support.postgres import PostgresServer, binaries
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess, worker_command
forks.SDKS = ()  # of those it starts none asks a model
forks.nursery = forks.Nursery()
RedisServer(Path("broker")).start()
command = worker_command("w", "tests.support.sample_app", ["-P", "solo"])
env = {"REDIS_URL": "redis://127.0.0.1:1/0"}
WorkerProcess("w", command, env=env, directory=Path()).start()
if installed := binaries():
    PostgresServer(installed, Path.cwd()).start()
print(*(p.pid for p in psutil.Process().children(recursive=True)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv here")
def test_nothing_outlives_a_process_of_tests_that_is_killed() -> None:
    """No server, no worker, and not the process that forks."""
    with TemporaryDirectory(dir=scratch()) as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as somebody else
        done = subprocess.run(
            [sys.executable, "-c", STARTER],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        started = [int(pid) for pid in done.stdout.split()]
        assert len(started) >= (3 if binaries() is None else 4)
        eventually(lambda: not any(map(lives, started)))


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class TestWorkers:
    def test_a_killed_worker_comes_back_under_its_name(
        self, worker_factory: WorkerFactory, redis_url: str
    ) -> None:
        worker = worker_factory(app="tests.support.sample_app", args=SHOP)
        app = sample_app.shop(redis_url)
        assert app.send_task("shop.add", (1, 2)).get(timeout=20) == 3
        worker.kill()
        assert worker.returncode == -signal.SIGKILL
        sent = app.send_task("shop.answer", ("hello",))
        worker.restart()
        assert sent.get(timeout=20) == "shop says: hello"
        assert worker.life().count(" ready.") == 1
        assert worker.terminate() == 0

    def test_the_service_is_the_one_that_is_tested(self, stack: Stack) -> None:
        home = Path(stack.client.ask("home", None).get(timeout=SOON_S))
        if SERVICE is CHECKOUT:
            assert home == ROOT / "celery_agents"
        else:
            assert home.is_relative_to(SERVICE.python.parents[1].resolve())

    def test_this_process_has_its_code(self) -> None:
        packages = layout, registry, redaction
        home = ROOT if SERVICE is CHECKOUT else SERVICE.python.parents[1]
        for module in packages:
            assert Path(str(module.__file__)).is_relative_to(home)
        assert qualified("app") == SERVICE.qualified("app")
        assert registry.Registered.__module__ == SERVICE.qualified("agents.catalog.registry")

    def test_one_that_cannot_start_shows_its_log(self, worker_factory: WorkerFactory) -> None:
        with pytest.raises(RuntimeError, match="no_such_module"):
            worker_factory(app="no_such_module", args=SHOP)


#: A program that has something to do when it ends.
ENDING = """
import atexit, sys, threading, time
atexit.register(sys.stdout.write, "at the end")
threading.Thread(target=lambda: time.sleep(0.2) or sys.stdout.write("a thread, ")).start()
sys.stdout.write("written, ")
"""
_SAMPLE = ["-A", "tests.support.sample_app"]


class TestForks:
    @pytest.mark.parametrize(
        ("command", "code"),
        in_turn(
            [
                pytest.param(CHECKOUT.celery("--version"), 0, id="well"),
                pytest.param(CHECKOUT.celery("agents", "nonsense"), 2, id="wrong words"),
                pytest.param(
                    CHECKOUT.celery(*_SAMPLE, "inspect", "--timeout", "0.1", "ping"),
                    69,
                    id="nobody there",
                ),
                pytest.param(
                    CHECKOUT.celery("-A", "no_such_module", "report"), 2, id="no such app"
                ),
                pytest.param([str(CHECKOUT.python), "-P", "-m", "api"], 1, id="an API on no port"),
            ],
            0,
            part=3,
        ),
    )
    def test_one_ends_and_says_as_a_process_does(
        self, command: list[str], code: int, redis_url: str
    ) -> None:
        env = CHECKOUT.environment({"REDIS_URL": redis_url, "AGENTS_API_PORT": "none"})
        alone = subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert forks.nursery is not None
        assert forks.nursery.takes(command, env, ROOT)
        forked = forks.run(command, env, ROOT, 60)
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            *(alone.returncode, alone.stdout, alone.stderr),
        )
        assert alone.returncode == code

    @pytest.mark.parametrize(
        "end", in_turn(["", "1 / 0", "raise SystemExit('no')", "raise SystemExit(3)"], 0, part=2)
    )
    def test_what_is_to_happen_at_its_end_happens(self, end: str, tmp_path: Path) -> None:
        """Threads are waited for, functions called, and what was written is there."""
        (tmp_path / "ending.py").write_text(ENDING + end)
        run = "from tests.support.forking import _run; _run('ending')"
        env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        alone, forked = (
            subprocess.run(
                [sys.executable, *argv], env=env, capture_output=True, text=True, check=False
            )
            for argv in (["-m", "ending"], ["-c", run])
        )
        assert (forked.returncode, forked.stdout) == (alone.returncode, alone.stdout)
        assert alone.stdout == "written, a thread, at the end"
        assert bool(forked.stderr) is bool(alone.stderr)

    def test_one_leads_a_group_holds_its_pid_file_and_is_not_the_next_one(
        self, worker_factory: WorkerFactory
    ) -> None:
        one, other = (worker_factory(app="tests.support.sample_app", args=SHOP) for _ in "ab")
        for worker in (one, other):
            process = psutil.Process(worker.pid)
            assert os.getpgid(worker.pid) == worker.pid
            assert "tests.support.forking" in process.cmdline()
            assert locks.holder(worker.log.with_suffix(".pid")) == worker.pid
        one.kill()
        assert locks.holder(one.log.with_suffix(".pid")) is None
        assert (one.returncode, other.returncode) == (-signal.SIGKILL, None)
        assert other.terminate() == 0

    def test_a_branch_does_as_what_it_came_of(self) -> None:
        """Those that run files of tests at once have imported the service together."""
        command, env = CHECKOUT.celery("--version"), CHECKOUT.environment({})
        plain = forks.run(command, env, ROOT, 60)
        assert forks.nursery is not None
        branch = forks.nursery._forking_of(command[0], env).branch()
        for _ in "ab":
            with TemporaryFile() as output:
                out = output.fileno()
                assert branch.start(command, env, out, out, cwd=ROOT).wait(60) == 0
                output.seek(0)
                assert output.read().decode() == plain.stdout

    def test_variables_of_their_own_are_there_from_the_beginning(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second process with them is a fork of one that was started with them."""
        (tmp_path / "sitecustomize.py").write_text(
            "import os, sys\nprint(os.environ['CELERY_SAID'], 'celery' in sys.modules)\n"
        )
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        env = CHECKOUT.environment({"PYTHONPATH": path, "CELERY_SAID": "early"})
        command = CHECKOUT.celery("--version")
        assert forks.nursery is not None
        branch = forks.nursery._forking_of(command[0], CHECKOUT.environment({})).branch()
        begun: list[Any] = []

        def begin(python: str, folder: Path, given: Mapping[str, str], *_: str) -> forks.Forking:
            """Stand in for one that imports all of it once more."""
            begun.append((python, folder, given))
            return branch

        monkeypatch.setattr(forks.Forking, "begun", begin)
        monkeypatch.setattr(forks, "nursery", own := forks.Nursery())
        told = []
        for fork in (False, True, True):
            assert own.takes(command, env, ROOT) is fork
            told.append(forks.run(command, env, ROOT, 60).stdout)
        assert told[0] == "early False\n" + told[1]
        assert told[1] == told[2]
        assert begun == [(command[0], ROOT, env)]

    @pytest.mark.parametrize(
        ("argv", "env", "cwd"),
        [
            (CHECKOUT.line("worker"), {}, ROOT),
            (["/usr/bin/env", *CHECKOUT.celery("worker")], {}, ROOT),
            (CHECKOUT.celery("worker"), {"PYTHONPATH": "elsewhere"}, ROOT),
            (CHECKOUT.celery("worker"), {"LD_PRELOAD": "library"}, ROOT),
            (CHECKOUT.celery("worker"), {"CELERY_CUSTOM_WORKER_POOL": "m:Pool"}, ROOT),
            (CHECKOUT.celery("worker"), {}, ROOT / "tests"),
        ],
        ids=[
            "the Procfile's",
            "with a prefix",
            "other modules",
            "a library",
            "a pool",
            "another folder",
        ],
    )
    def test_what_is_otherwise_is_started_as_ever(
        self, argv: list[str], env: dict[str, str], cwd: Path
    ) -> None:
        assert forks.nursery is not None
        assert not forks.nursery.takes(argv, CHECKOUT.environment(env), cwd)


@pytest.mark.skipif(DOCKER, reason="the Docker vendors run pytest-celery's own worker")
class TestVendors:
    @pytest.fixture
    def default_worker_command(self) -> list[str]:
        return worker_command("shop@vendors", "tests.support.sample_app", SHOP)

    @pytest.fixture
    def journal_url(self) -> str:
        return "sqlite://"  # the sample app has no journal

    def test_setup_runs_on_processes(self, celery_setup: CeleryTestSetup) -> None:
        assert celery_setup.ready(control=True)
        assert len(celery_setup) == 3
        added = celery_setup.app.send_task("shop.add", (1, 2), queue="shop")
        assert added.get(timeout=20) == 3
        celery_setup.worker.assert_log_exists("shop.add")
        # Docker is not asked.
        assert celery_setup.worker.container.exec_run("echo here") == (0, b"here\n")
        assert os.getpgid(celery_setup.worker.container.process.pid) != os.getpgid(0)

    def test_nodes_can_be_killed_and_restarted(self, celery_setup: CeleryTestSetup) -> None:
        celery_setup.worker.kill()
        assert celery_setup.worker.container.status == "exited"
        celery_setup.broker.restart(force=True)
        celery_setup.worker.restart()
        answered = celery_setup.app.send_task("shop.answer", ("hello",), queue="shop")
        assert answered.get(timeout=20) == "shop says: hello"
