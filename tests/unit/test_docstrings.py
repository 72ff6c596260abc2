"""Docstrings say what a thing is or does, and most of what is public has one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from deploy.wheel import statements

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("api", "app", "agents", "celery_agents", "tasks"),
    *("deploy", "beat_schedules", "bench", "examples"),
)
#: Clauses that a reader has to turn round before they say anything.
CLAUSE = re.compile(r"\s*(What|Who|Whom|Whose|Whoever|Whatever|Whether)\b")
#: Of the public classes, functions and methods of a package, those that may have none.
MISSING_MAX = 0.1

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def begins_with_clause(tree: ast.Module) -> list[str]:
    documented = ast.Module | Definition
    found = (ast.get_docstring(n) for n in statements(tree) if isinstance(n, documented))
    return [doc for doc in found if doc and CLAUSE.match(doc)]


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Give the public definitions of a module or a class, without overloads."""
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if any(ast.unparse(d).endswith("overload") for d in node.decorator_list):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body)


class Docstrings:
    """Those of a package: what begins with a clause, by file, and all public things."""

    def __init__(self, package: str) -> None:
        self.clauses: dict[str, list[str]] = {}
        self.things: list[tuple[str, str | None]] = []
        files = sorted((ROOT / package).rglob("*.py"))
        assert files
        for file in files:
            self._read(str(file.relative_to(ROOT)), ast.parse(file.read_text()))

    def _read(self, name: str, tree: ast.Module) -> None:
        if found := begins_with_clause(tree):
            self.clauses[name] = found
        for node in public(tree.body):
            self.things.append((f"{name}:{node.lineno} {node.name}", ast.get_docstring(node)))


docstrings = cache(Docstrings)


@pytest.mark.parametrize("package", [*PACKAGES, "tests/support", "tests/chaos"])
def test_no_docstring_begins_with_a_clause(package: str) -> None:
    assert docstrings(package).clauses == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_things_have_docstrings(package: str) -> None:
    things = docstrings(package).things
    missing = [place for place, doc in things if not doc]
    assert len(missing) <= MISSING_MAX * len(things), missing


@pytest.mark.parametrize(
    "source",
    [
        '"""What a module holds."""',
        'def f():\n    """Whether it is so."""',
        'class A:\n    async def f(self):\n        """\n        Who answers.\n        """',
    ],
)
def test_a_clause_is_found_wherever_it_stands(source: str) -> None:
    assert len(begins_with_clause(ast.parse(source))) == 1


def test_plain_docstrings_private_names_and_overloads_are_left_alone() -> None:
    source = '"""Whole values."""\n@overload\ndef f(): ...\ndef _g(): ...\nclass A:\n    x = 1'
    assert begins_with_clause(ast.parse(source)) == []
    assert [node.name for node in public(ast.parse(source).body)] == ["A"]
