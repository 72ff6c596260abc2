"""Stacks of a broker, a journal and workers: one for tests that harm nothing, or their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from celery_agents import Client, names
from tests.fakes import model_server
from tests.fakes.model_server import ModelServer
from tests.integration.harness import FAST, Location, Stack, watching
from tests.support.browser import CHROMIUM, Browser, browser
from tests.support.fixtures import _broker_at
from tests.support.ports import free_port
from tests.support.postgres import Databases
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess

SHOP = ["--pool", "threads", "--concurrency", "4", "-Q", "shop"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those tests of each file run last that share a stack, which idles during all others."""
    here = Path(__file__).parent
    files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    for tests in files:
        if tests[0].path.is_relative_to(here):
            tests.sort(key=_shares)
    items[:] = [item for tests in files for item in tests]


def _shares(item: pytest.Item) -> int:
    names: list[str] = getattr(item, "fixturenames", [])
    return 2 if "location" in names else int("stack" in names)


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """A fake model server that the agents of the shared stack ask."""
    with model_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, whose tab each test has anew."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


def _agents_toml(model_url: str) -> str:
    """Every kind of agent that is configured rather than written."""
    return textwrap.dedent(f"""
        [agents.gpt]
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "{model_url}/v1"
        api_key_env = "FAKE_KEY"
        price = {{ input_usd = 1.0, output_usd = 2.0 }}

        [agents.streamed]
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "{model_url}/v1"
        api_key_env = "FAKE_KEY"
        stream = true

        [agents.claude]
        kind = "anthropic"
        model = "claude-sonnet-4-5"
        base_url = "{model_url}"
        api_key_env = "FAKE_KEY"
        price = {{ input_usd = 1.0, output_usd = 2.0 }}

        [agents.gemini]
        kind = "google"
        model = "gemini-2.5-flash"
        base_url = "{model_url}"
        api_key_env = "FAKE_KEY"
        price = {{ input_usd = 1.0, output_usd = 2.0 }}

        [agents.keyless]
        kind = "openai"
        model = "gpt-5-mini"
        api_key_env = "NOBODYS_API_KEY"

        [agents.down]
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "http://127.0.0.1:{free_port()}/v1"
        api_key_env = "FAKE_KEY"

        [agents.service]
        kind = "http"
        url = "{model_url}/agent"

        [agents.charging]
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "{model_url}/v1"
        effects = "pure"
        tools = ["tests.support.agents:charge"]

        [agents.shop]
        kind = "celery"
        task = "shop.answer"
        queue = "shop"

        [agents.shop_fails]
        kind = "celery"
        task = "shop.add"
        queue = "shop"

        [agents.shop_nobody]
        kind = "celery"
        task = "shop.answer"
        queue = "shop.closed"
        result_timeout_s = 0.5

        [agents.scripted]
        kind = "scripted"
        replies = [{{ value = "as written" }}]

        [panels.triage]
        task = "vote"
        voters = ["yes", "yes", "no"]

        [panels.first]
        task = "fallback"
        candidates = ["bad", "gpt"]

        [panels.split]
        task = "vote"
        voters = ["yes", "no"]
        rule = "unanimous"
    """)


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A broker that no test harms, apart from the one that tests kill."""
    with _broker_at(tmp_path_factory.mktemp("shared-broker")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    shared_broker: RedisServer,
    model: ModelServer,
    _migrated_sqlite: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """One worker with every agent, for a file's tests that do not harm it.

    Not for all files of a runner: most of them do not use it, and to start one costs less than to
    have it idle meanwhile.
    """
    model.script()  # a file before this one may have left another one
    directory = tmp_path_factory.mktemp("shared")
    shutil.copyfile(_migrated_sqlite, directory / "journal.db")
    config = directory / "agents.toml"
    config.write_text(_agents_toml(model.url))
    made = Stack(
        shared_broker.fresh_url(),
        f"sqlite:///{directory / 'journal.db'}",
        directory,
        {
            "AGENTS_CONFIG": str(config),
            "FAKE_KEY": "sk-fake-0123456789abcdef0123",
            "AGENTS_WAKE_GRACE_S": "2",
        },
    )
    try:
        made.worker()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shop(stack: Stack) -> WorkerProcess:
    """A worker of another app beside the one of ``stack``; it ends with that."""
    return stack.worker(SHOP, app="tests.support.sample_app")


@pytest.fixture(scope="module")
def location(
    request: pytest.FixtureRequest,
    database: str,
    shared_broker: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Location]:
    """Where a file's tests that harm nothing have a stack in common, on each of its databases."""
    directory = tmp_path_factory.mktemp("common")
    redis_url = shared_broker.fresh_url()
    if database == "sqlite":
        migrated: Path = request.getfixturevalue("_migrated_sqlite")
        shutil.copyfile(migrated, directory / "journal.db")
        yield Location(redis_url, f"sqlite:///{directory / 'journal.db'}", directory)
        return
    server: Databases = request.getfixturevalue("postgres")
    template = make_url(request.getfixturevalue("_migrated_postgres")).database
    url = server.create(template=template)
    yield Location(redis_url, url, directory)
    server.drop(url)


@pytest.fixture
def own_location(redis_url: str, database_url: str, tmp_path: Path) -> Location:
    """Where a test has a stack of its own, which it may harm, on each of its file's databases."""
    return Location(redis_url, database_url, tmp_path)


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    """What ``common`` gives. A file whose workers are told more has one of its own."""
    made = Stack(*location, FAST)
    made.worker()
    yield made
    made.close()


@pytest.fixture
def common(_common: Stack) -> Stack:
    """A stack with short times and a worker that a file's tests share; the tenant is the test's."""
    return _common.tenanted()


@pytest.fixture
def client(stack: Stack) -> Client:
    """The client of the shared stack, whose breakers forget what earlier tests made agents do."""
    if known := list(stack.redis.scan_iter(f"{names.BREAKERS}*")):
        stack.redis.delete(*known)
    return stack.client


@pytest.fixture
def events(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """What Flower gets to see of the shared stack, from now on."""
    with watching(stack) as seen:
        yield seen


@pytest.fixture
def fast(redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own with short times and no worker yet."""
    made = Stack(redis_url, sqlite_journal_url, tmp_path, FAST)
    yield made
    made.close()


@pytest.fixture
def either(own_location: Location) -> Iterator[Stack]:
    """A stack of the test's own with short times and a worker, on each of its file's databases."""
    made = Stack(*own_location, FAST)
    made.worker()
    yield made
    made.close()


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """The file that counted agents append to."""
    return tmp_path / "counted"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of some MB."""
    place = Path(tempfile.mkdtemp(prefix="celery-agents-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=1777", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        place.rmdir()
        pytest.skip("file systems cannot be mounted here: it needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()
