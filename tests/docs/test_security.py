"""The tables of threats: each row names tests that there are, and that are not left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
_NAMED = re.compile(r"`(tests/[^`]+)`")
#: The heads of a column that names tests.
_HEADS = {"shown by", "test"}
_LEFT_OUT = re.compile(r"\b(skip|skipif|xfail)\b")


class Threat(NamedTuple):
    """A row of one of the tables."""

    threat: str
    tests: tuple[str, ...]


def threats(page: str) -> Iterator[Threat]:
    """The rows of all tables that name tests; one that says "the same" has those before it."""
    inside, tests = False, tuple[str, ...]()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[-1] in _HEADS and cells[0] == "threat":
            inside = True
        elif inside and not line.startswith("|---"):
            if cells[-1] != "the same":
                tests = tuple(_NAMED.findall(cells[-1]))
            yield Threat(cells[0], tests)


def complaint(named: str, root: Path = ROOT) -> str | None:
    """What is wrong with a test that is named; None: nothing."""
    place, _, name = named.partition("::")
    path = root / place
    if not path.exists():
        return "there is no such file"
    files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
    found = [test for file in files for test in _tests_of(file)]
    mine = [left_out for test, left_out in found if name in {"", test}]
    if not mine:
        return "it has no such test"
    return "it is left out" if all(mine) else None


@cache
def _tests_of(file: Path) -> tuple[tuple[str, bool], ...]:
    return tuple(named_within(ast.parse(file.read_text()), "", False))


def named_within(tree: ast.AST, within: str, left_out: bool) -> Iterator[tuple[str, bool]]:
    """The tests of a module or a class, and whether each is left out whatever its parameters."""
    body = getattr(tree, "body", [])
    left_out = left_out or any(
        isinstance(one, ast.Assign)
        and "pytestmark" in ast.unparse(one.targets[0])
        and _LEFT_OUT.search(ast.unparse(one.value)) is not None
        for one in body
    )
    for one in body:
        if not isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        marks = [d for d in one.decorator_list if not _is_parametrize(d)]
        out = left_out or any(_LEFT_OUT.search(ast.unparse(d)) for d in marks)
        if isinstance(one, ast.ClassDef):
            yield from named_within(one, f"{within}{one.name}::", out)
        elif one.name.startswith("test"):
            yield f"{within}{one.name}", out


def _is_parametrize(decorator: ast.expr) -> bool:
    """Return whether it is one that may leave out some of its cases, and not the test."""
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize")


ROWS = list(threats(PAGE.read_text()))


def test_all_tables_are_read() -> None:
    said = PAGE.read_text()
    heads = len(re.findall(r"^\| threat \|", said, re.MULTILINE))
    assert heads > 5
    assert len(ROWS) > 50
    for row in ROWS:  # none of them is cut in two by a sign of its own
        assert row.threat
        assert row.tests, row.threat


@pytest.mark.parametrize("named", sorted({test for row in ROWS for test in row.tests}))
def test_a_row_names_a_test_that_is_run(named: str) -> None:
    assert complaint(named) is None


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("tests/test_a.py", None),
        ("tests", None),
        ("tests/test_a.py::test_runs", None),
        ("tests/test_a.py::Test::test_runs", None),
        ("tests/test_a.py::test_some", None),
        ("tests/test_b.py", "there is no such file"),
        ("tests/test_a.py::test_gone", "it has no such test"),
        ("tests/test_a.py::test_skipped", "it is left out"),
        ("tests/test_a.py::Out::test_inside", "it is left out"),
        ("tests/test_c.py", "it is left out"),
        ("tests/test_c.py::test_it", "it is left out"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, named: str, why: str | None) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_a.py").write_text(
        "import pytest\n"
        "def test_runs(): ...\n"
        "@pytest.mark.skip\ndef test_skipped(): ...\n"
        "@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.xfail), 2])\n"
        "def test_some(a): ...\n"
        "class Test:\n    def test_runs(self): ...\n"
        "@pytest.mark.skipif(True, reason='')\nclass Out:\n    def test_inside(self): ...\n"
    )
    (folder / "test_c.py").write_text("pytestmark = [pytest.mark.skip]\ndef test_it(): ...\n")
    assert complaint(named, tmp_path) == why
