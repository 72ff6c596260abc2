"""The journal is closed: who stands outside of it sees values, and no connection."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
TASK_LINES = 15
#: How a transaction begins.
OPENERS = {"in_transaction", "held_transaction", "transaction"}


def sources(*places: str) -> list[Path]:
    return [f for place in places for f in sorted((ROOT / place).rglob("*.py"))]


OUTSIDE = [
    f
    for f in sources("api", "app", "tasks", "agents", "beat_schedules")
    if not f.is_relative_to(ROOT / "app" / "journal")
]


def imported(tree: ast.AST) -> set[str]:
    """Full names of what a module imports."""
    return {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def opened(tree: ast.AST) -> Iterator[str]:
    """Names of the calls by which a transaction begins."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in OPENERS:
                yield name


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda f: str(f.relative_to(ROOT)))
def test_nobody_outside_holds_a_connection(path: Path) -> None:
    source = path.read_text()
    if not any(word in source for word in ("sqlalchemy", *OPENERS)):
        return  # most name neither: to parse them all takes seconds
    tree = ast.parse(source)
    found = {n for n in imported(tree) if n.startswith("sqlalchemy") and n.endswith("Connection")}
    assert found == set()
    assert list(opened(tree)) == []


@pytest.mark.parametrize("path", sources("tasks"), ids=lambda f: f.name)
def test_tasks_are_short(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    assert {name: n for name, n in lines.items() if n > TASK_LINES} == {}


@pytest.mark.parametrize(
    "source",
    [
        "journal.transaction(lambda c: memos.change(c, key, revise))",
        "held_transaction(held, lambda c: c.execute(statement))",
        "rows = in_transaction(reading(engine), reads.agents)",
    ],
)
def test_a_transaction_is_recognized(source: str) -> None:
    assert list(opened(ast.parse(source)))
