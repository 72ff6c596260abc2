"""The test kit's fixtures for pytest: a stack, scripts, cassettes, time that passes.

pytest imports this module wherever celery-agents is installed, so it imports nothing of that before
a test asks for a fixture. It stands beside the package, not in it, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celery_agents import Client
    from celery_agents.testing import AgentsStack, Scripted


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the settings of the fixtures."""
    _leave_asserts(pluginmanager)
    parser.addini("agents_modules", "modules with agents, beside AGENTS_MODULES", "args", [])
    parser.addini("agents_config", "the file with agents; else AGENTS_CONFIG", "string", "")
    parser.addini("agents_app", "an app of your own that serves agents", "string", "")
    parser.addini("agents_models", "scripted, or real: models without a script are asked")


def _leave_asserts(pluginmanager: Any) -> None:
    """Keep pytest from compiling the package anew, to explain asserts that it does not have.

    pytest marks every package of a distribution that has a plug-in.
    """
    hook = getattr(pluginmanager, "rewrite_hook", None)
    marked = getattr(hook, "_must_rewrite", None)
    if isinstance(marked, set):
        marked.discard("celery_agents")
        getattr(hook, "_marked_for_rewrite_cache", {}).clear()


@pytest.fixture(scope="session")
def agents_environment() -> Mapping[str, str]:
    """More variables of the worker and of the client: override it."""
    return {}


@pytest.fixture(scope="session")
def agents_stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    agents_environment: Mapping[str, str],
) -> Iterator[AgentsStack]:
    """An embedded broker, a SQLite journal and a worker, for all tests of the session."""
    from celery_agents.testing import AgentsStack, running_stack

    config, root = request.config, request.config.rootpath
    file = config.getini("agents_config")
    about: dict[str, Any] = {"app": app} if (app := config.getini("agents_app")) else {}
    stack = AgentsStack(
        tmp_path_factory.mktemp("agents"),
        modules=config.getini("agents_modules"),
        config=root / file if file else None,
        environ=agents_environment,
        cwd=root,
        real_models=config.getini("agents_models") == "real",
        **about,
    )
    with running_stack(stack):
        yield stack


@pytest.fixture
def agents(agents_stack: AgentsStack) -> Client:
    """The client of the stack, whose worker runs."""
    agents_stack.start_worker()
    return agents_stack.client


@pytest.fixture
def scripted(agents_stack: AgentsStack) -> Iterator[Scripted]:
    """The scripts of the stack's agents, empty at first."""
    agents_stack.scripted.clear()
    yield agents_stack.scripted
    agents_stack.scripted.clear()


@pytest.fixture
def skip(agents_stack: AgentsStack) -> Callable[..., None]:
    """Let time pass: `skip(60)`, `skip(weeks=1)`."""
    return agents_stack.skip


@pytest.fixture
def cassette(
    request: pytest.FixtureRequest, agents_stack: AgentsStack
) -> Callable[[str], AbstractContextManager[None]]:
    """Have calls answered from a file beside the test; where there is none, it is recorded.

    For the length of a block: `with cassette("x.jsonl"):`.
    """
    folder = request.path.parent
    return lambda name: agents_stack.cassette(folder / name)


@pytest.fixture
def kill_worker(agents_stack: AgentsStack) -> Callable[..., None]:
    """Kill the worker, and start another one: `kill_worker()`, `kill_worker(restart=False)`."""
    return agents_stack.kill_worker
