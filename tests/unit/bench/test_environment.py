"""What a contestant does is what its package says, whoever starts the bench."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import roster, workloads
from bench.contestant import Contestant
from bench.servers import GIVEN, KEPT, environment
from deploy.local.state import ROOT

BENCH = ROOT / "bench"
#: Modules that run in a round's processes.
PLAYED = sorted(
    [
        *(path for path in BENCH.glob("contestants/*/*.py") if path.name != "__init__.py"),
        *(BENCH / name for name in ("asyncio_driver.py", "client.py", "driver.py")),
        *(BENCH / name for name in ("model_client.py", "model_server.py", "workload.py")),
        *BENCH.glob("workloads/*.py"),
    ]
)
GIVES = ["redis://r", "sqlite:///d", "1234", "/tmp/round", "/checkout"]
every_module = pytest.mark.parametrize(
    "path", PLAYED, ids=lambda path: str(path.relative_to(BENCH))
)


def declared(family: str) -> set[str]:
    """The variables that a round of this family is told, in every case that it plays."""
    found = set(GIVEN)
    told: list[set[str]] = []
    for one in roster.ALL:
        if one.family != family:
            continue
        for name in one.workloads:
            cases = workloads.workload(name).cases(one, False)
            told += [set(one.environment(name, case)) for case in cases]
    return found | set.intersection(*told) if told else found


def reads(tree: ast.AST) -> Iterator[str | None]:
    """What the code asks of the environment: the name, or None where it is not ``environ[NAME]``.

    ``environ.get`` and ``getenv`` have a second answer for who has not set the variable, so a
    setting could be forgotten and nobody would see.
    """
    plain = {
        id(node.value): node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            yield plain.get(id(node)) if node.attr == "environ" else None
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (None for name in node.names if name.name in {"environ", "getenv"})


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ('os.environ["REDIS_URL"]', ["REDIS_URL"]),
        ('os.environ.get("LGD", "async")', [None]),
        ('os.getenv("LGD")', [None]),
        ("os.environ[name]", [None]),
        ("from os import environ", [None]),
        ("dict(os.environ)", [None]),
        ("asyncio.environment()", []),
    ],
)
def test_every_way_to_read_the_environment_is_seen(code: str, asked: list[str | None]) -> None:
    assert list(reads(ast.parse(code))) == asked


@every_module
def test_only_declared_variables_are_read(path: Path) -> None:
    family = path.parent.name if path.parent.parent.name == "contestants" else ""
    assert set(reads(ast.parse(path.read_text()))) <= declared(family)


def _private_names(tree: ast.Module) -> set[str]:
    targets = [
        target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if name.startswith("_")}


@pytest.mark.parametrize(
    "path", sorted(BENCH.rglob("*.py")), ids=lambda path: str(path.relative_to(BENCH))
)
def test_no_table_of_settings_is_left_unread(path: Path) -> None:
    tree = ast.parse(path.read_text())
    read = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert _private_names(tree) <= read


def test_of_the_users_environment_a_round_has_what_starts_a_program() -> None:
    outside = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LGD": "sync",
        "AGENTS_STEP_TIMEOUT_S": "1",
        "CELERY_BROKER_URL": "redis://elsewhere",
        "REDIS_URL": "redis://mine",
        "OPENAI_API_KEY": "mine",
        "UV_INDEX_URL": "https://index",
    }
    found = environment(outside, *GIVES)
    assert found == {"PATH": "/bin", "HOME": "/home/me", **dict(zip(GIVEN, GIVES, strict=True))}
    assert not set(KEPT) & set(GIVEN)


@pytest.mark.parametrize("one", roster.ALL, ids=lambda one: one.name)
def test_no_contestant_is_told_by_another_name_what_the_servers_tell(one: Contestant) -> None:
    for name in one.workloads:
        for case in workloads.workload(name).cases(one, False):
            told = one.environment(name, case)
            assert not set(told) & {*GIVEN, *KEPT}
            assert all(isinstance(value, str) for value in told.values())


@pytest.mark.parametrize(
    ("workload", "durability"),
    [("noop", "exit"), ("roundtrip", "exit"), ("waiting", "exit"), ("chain", "async")],
)
def test_langgraph_runs_at_its_best_durability_and_says_so(workload: str, durability: str) -> None:
    for one in roster.chosen(["langgraph"]):
        assert one.environment(workload, {})["BENCH_DURABILITY"] == durability
        assert f"durability {durability}" in one.settings(workload, {})


class _Graphs:
    """What the driver uses of LangGraph, whose libraries are in another environment."""

    def __init__(self, *_: object) -> None:
        self.told: list[dict[str, Any]] = []

    def add_node(self, *_: object) -> None: ...

    def add_edge(self, *_: object) -> None: ...

    def compile(self, **_: object) -> _Graphs:
        return self

    async def ainvoke(self, given: Any, _config: Any, **told: Any) -> Any:
        self.told.append(told)
        return given


@pytest.fixture
def langgraph(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Its driver, on graphs that only note how they are run."""
    names = {
        "langgraph.checkpoint.postgres.aio": "AsyncPostgresSaver",
        "langgraph.checkpoint.sqlite.aio": "AsyncSqliteSaver",
        "langgraph.graph": "END START StateGraph",
        "psycopg.rows": "dict_row",
        "psycopg_pool": "AsyncConnectionPool",
    }
    for name, has in names.items():
        made = ModuleType(name)
        vars(made).update(dict.fromkeys(has.split(), _Graphs))
        monkeypatch.setitem(sys.modules, name, made)
    module = "bench.contestants.langgraph.driver"
    monkeypatch.delitem(sys.modules, module, raising=False)
    found = import_module(module)
    monkeypatch.delitem(sys.modules, module)

    async def saver(*_: object) -> None: ...

    monkeypatch.setattr(found.Driver, "_saver", saver)
    return found


@pytest.mark.parametrize("one", roster.chosen(["langgraph"]), ids=lambda one: one.name)
def test_langgraph_is_run_as_its_table_says(
    langgraph: ModuleType, monkeypatch: pytest.MonkeyPatch, one: Contestant
) -> None:
    """A driver that forgot the durability would run at the library's own, which is slower."""
    assert one.workloads
    for name in one.workloads:
        told = one.environment(name, {})
        for variable, value in {**told, "DATABASE_URL": "sqlite:///d"}.items():
            monkeypatch.setenv(variable, value)
        driver = langgraph.Driver()
        driver.steps("wait", [1]), driver.steps("noop", [1]), driver.chains([1])
        driver.close()
        used = [told for graph in driver._graphs.values() for told in graph.told]
        assert used == [{"durability": told["BENCH_DURABILITY"]}] * 3
