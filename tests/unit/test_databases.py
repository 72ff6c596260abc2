"""Each file of integration tests says on which databases it runs, and its tests run on those."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.databases import KINDS, chosen, pytest_generate_tests

FILES = sorted((Path(__file__).parents[1] / "integration").glob("test_*.py"))
#: Tests of the journal, each on one of the two if it does not say otherwise.
JOURNALS = sorted((Path(__file__).parent / "app" / "journal").rglob("test_*.py"))
#: Fixtures, also of other files, that give a test its journal by what its own file says.
FOLLOWING = frozenset(
    ("database", "database_url", "location", "own_location", "either", "common", "_common")
) | frozenset(("flows", "lasting", "served"))
#: Files with parameters of their own that name a database.
OWN = {
    "test_pools.py": "each pool, with one on which no other file has it",
    "test_support.py": "servers that it starts",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def said(path: Path) -> list[str]:
    """What a file says that it is."""
    marks = [n for n in tree(path).body if isinstance(n, ast.Assign)]
    calls = [
        node
        for mark in marks
        if ast.unparse(mark.targets[0]) == "pytestmark"
        for node in ast.walk(mark)
        if isinstance(node, ast.Call)
    ]
    return [
        ast.literal_eval(call.args[0])
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.databases"
    ]


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]


def is_given(function: ast.FunctionDef) -> bool:
    """Whether pytest gives it what it asks for: a test or a fixture, and no helper of theirs."""
    fixture = any("pytest.fixture" in ast.unparse(one) for one in function.decorator_list)
    return fixture or function.name.startswith("test_")


def follows(path: Path) -> bool:
    """Whether a test or a fixture of it has the journal that the file names."""
    given = (f for f in functions(path) if is_given(f))
    return any(arg.arg in FOLLOWING for f in given for arg in f.args.args)


def test_helpers_follow_nothing(tmp_path: Path) -> None:
    """A word of theirs is no fixture: a file of one database was taken for one that has either."""
    helper, fixture = tmp_path / "test_helper.py", tmp_path / "test_fixture.py"
    helper.write_text("def meet(database_url): ...\ndef test_it(sqlite_journal_url): ...\n")
    fixture.write_text("@pytest.fixture\ndef journal(database_url): ...\n")
    assert not follows(helper)
    assert follows(fixture)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_says_which_it_is(path: Path) -> None:
    (kind,) = said(path)
    assert kind in KINDS
    if path.name not in OWN:
        assert follows(path) or kind not in {"both", "one"}, "no test of it would run on them"
        assert not follows(path) or kind != "none"


@pytest.mark.parametrize("path", [p for p in FILES if p.name not in OWN], ids=lambda p: p.name)
def test_none_has_parameters_of_its_own_for_it(path: Path) -> None:
    told = [ast.unparse(decorator) for f in functions(path) for decorator in f.decorator_list]
    marks = {f"pytest.mark.databases({kind!r})" for kind in KINDS}
    assert [text for text in told if "'postgres'" in text and text not in marks] == []


def tells_databases_apart(test: ast.FunctionDef) -> bool:
    """Whether what it shows is not the same on each: its name would leave one of the two out."""
    return test.name.startswith("test_") and "dialect.name" in ast.unparse(test)


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.name)
def test_a_test_of_the_journal_that_tells_them_apart_says_where_it_runs(path: Path) -> None:
    if said(path) in (["both"], ["postgres"]):
        return
    apart = [f for f in functions(path) if tells_databases_apart(f)]
    silent = [
        f.name for f in apart if "databases(" not in "".join(map(ast.unparse, f.decorator_list))
    ]
    assert silent == []


@pytest.mark.parametrize("name", OWN)
def test_what_is_excepted_is_there(name: str) -> None:
    assert name in {path.name for path in FILES}


def test_each_database_has_its_share() -> None:
    kinds = [kind for path in FILES if follows(path) for kind in said(path)]
    shares = sorted(kinds.count(one) for one in ("sqlite", "postgres"))
    assert shares[0] >= 10
    assert shares[1] <= 2 * shares[0]


@pytest.mark.parametrize(
    ("kind", "full", "runs_on"),
    [
        ("both", False, ["sqlite", "postgres"]),
        ("both", True, ["sqlite", "postgres"]),
        ("sqlite", False, ["sqlite"]),
        ("sqlite", True, ["sqlite", "postgres"]),
        ("postgres", False, ["postgres"]),
        ("postgres", True, ["sqlite", "postgres"]),
        ("one", True, ["sqlite", "postgres"]),
        ("none", True, []),
    ],
)
def test_which_are_chosen(kind: str, full: bool, runs_on: list[str]) -> None:
    assert list(chosen(kind, "test_x", full=full)) == runs_on


def test_which_one_it_is_does_not_change_and_either_has_a_share() -> None:
    ones = [chosen("one", f"test_{n}", full=False) for n in range(100)]
    assert ones == [chosen("one", f"test_{n}", full=False) for n in range(100)]
    assert {len(one) for one in ones} == {1}
    assert 25 < ones.count(("sqlite",)) < 75


def test_a_test_whose_file_says_nothing_is_refused() -> None:
    definition = SimpleNamespace(
        name="test_x", nodeid="test_x.py::test_x", get_closest_marker=lambda _: None
    )
    config = SimpleNamespace(option=SimpleNamespace(full=False))
    metafunc: Any = SimpleNamespace(fixturenames=["database"], definition=definition, config=config)
    with pytest.raises(pytest.UsageError, match=r"test_x\.py::test_x names no database"):
        pytest_generate_tests(metafunc)
