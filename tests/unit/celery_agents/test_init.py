"""The package's names are imported when they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import celery_agents

ROOT = Path(__file__).parents[3]
#: What a module that only offers agents has no need of.
HEAVY = ("celery", "kombu", "redis", "click", "billiard", "vine", "asyncio")


LIGHT = (
    "import celery_agents",
    "from celery_agents import agent, Answer, RetryableError, Vote, Decision",
    "from celery_agents import names, errors",
    "import agents.patterns.vote",
    "import celery_agents.agent; from celery_agents import agent; agent(lambda x: x)",
)


def test_nothing_heavy_is_loaded_before_a_client_is() -> None:
    """In one process: what none of them loads is not there behind the last one."""
    code = [f"{line}\nprint(*sys.modules)" for line in (*LIGHT, "from celery_agents import Client")]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import sys", *code])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *light, client = (
        {name.split(".")[0] for name in line.split()} for line in done.stdout.splitlines()
    )
    assert [names.intersection(HEAVY) for names in light] == [set()] * len(LIGHT)
    assert {"celery", "kombu", "redis"} <= client


def test_it_takes_a_fraction_of_the_clients_time() -> None:
    """Beside Pydantic, which both need; in one of several tries, since others use the machine."""
    timed = """
import time, pydantic.main
begin = time.process_time()
import celery_agents
lazy = time.process_time() - begin
from celery_agents import Client
print(lazy / (time.process_time() - begin))
"""

    def share() -> float:
        command = [sys.executable, "-c", timed]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert any(share() < 0.6 for _ in range(3))


def imported() -> dict[str, str]:
    """What type checkers see: names of the imports under TYPE_CHECKING, and their modules."""
    tree = ast.parse(Path(celery_agents.__file__).read_text())
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in branch.body if isinstance(node, ast.ImportFrom)]
    return {name.name: str(node.module) for node in imports for name in node.names}


def test_checkers_see_what_is_imported() -> None:
    assert imported() == celery_agents._HOMES
    assert {*imported(), "actor", "agent", "flow"} == set(celery_agents.__all__)


@pytest.mark.parametrize("name", celery_agents.__all__)
def test_each_name_is_there(name: str) -> None:
    found: Any = getattr(celery_agents, name)
    assert found.__name__ == name
    assert name in dir(celery_agents)


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cleint'"):
        celery_agents.Cleint  # noqa: B018
