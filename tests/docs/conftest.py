"""One broker, one journal and the workers of the documentation's examples, for all pages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access.permissions import Role
from celery_agents.testing import AgentsStack, running_stack
from deploy.local.state import ROOT
from tests.support.api import made_key, served
from tests.support.redis_server import RedisServer
from tests.support.service import APP
from tests.support.workers import WorkerProcess, unique_name, worker_command

CONFIGS = ("triage/agents.toml", "governed.toml", "routed.toml", "panels.toml")
MODULES = {"AGENTS_MODULES": '["examples.desk"]'}
SHOP = ["--pool", "threads", "--concurrency", "2", "-Q", "shop", "--without-mingle"]
#: A database that no other test of the session takes.
DATABASE = 0


@pytest.fixture(scope="session")
def documented(
    _session_broker: RedisServer, _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of who follows the pages: a service is up, and a shop's worker beside it."""
    directory = tmp_path_factory.mktemp("documented")
    _session_broker.start()
    env = {
        "REDIS_URL": _session_broker.database_url(DATABASE),
        "DATABASE_URL": f"sqlite:///{directory / 'journal.db'}",
    }
    (directory / "journal.db").write_bytes(_migrated_sqlite.read_bytes())
    config = directory / "agents.toml"
    config.write_text("\n".join((ROOT / "examples" / name).read_text() for name in CONFIGS))
    agents = {**MODULES, "AGENTS_CONFIG": str(config)}
    started = []
    for app, args in ((APP, None), ("examples.shop", SHOP)):
        name = unique_name()
        command = worker_command(name, app, args)
        started.append(WorkerProcess(name, command, env={**env, **agents}, directory=directory))
    try:
        for worker in started:
            worker.start()
        for worker in started:
            worker.wait_ready()
        yield env
    finally:
        for worker in started:
            worker.close()


@pytest.fixture
def openai_api(documented: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of who follows the page of OpenAI's API: it is served, and there is a key."""
    key = made_key(documented["DATABASE_URL"], Role.USER)
    with served(
        {**documented, "AGENTS_CONFIG": str(ROOT / "examples" / CONFIGS[-1])}, tmp_path
    ) as at:
        base = f"{str(at.base_url).rstrip('/')}/v1"
        yield {**documented, "OPENAI_BASE_URL": base, "OPENAI_API_KEY": key}


@pytest.fixture
def tutorial(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of who follows the tutorial: its own file is served, and nothing else."""
    first = ROOT / "examples" / "first"
    with running_stack(AgentsStack(tmp_path, modules=["helpdesk"], cwd=first)) as stack:
        yield {"REDIS_URL": stack.redis_url, "DATABASE_URL": stack.database_url}


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A page may start a worker in this process, and Celery's takes the root logger over."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], level = before
    root.setLevel(level)
