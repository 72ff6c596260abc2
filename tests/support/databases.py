"""Which database the journal of a file's tests is in: the rule, and the fixtures that follow it.

SQLite and PostgreSQL differ in what the journal's own statements do: in locks, in what transactions
see of each other, in what outlives a kill, in the types of values. A file whose subject is how they
go together is run on ``both``: how steps are claimed, joined, woken and recovered, and how they go
on after a kill; beside the code, too, where each database has statements of its own. What is made
of that (flows, actors, approvals, undoing; stores and queries, in tests/unit/app/journal what does
not say otherwise) has both in its file, and each of its tests has ``one``, which the test's name
decides. What stands before the journal or beside it (HTTP, commands, pages, protocols, SDKs, tools,
traces) reads and writes by the same functions on either: such a file names ``sqlite`` or
``postgres``, so that each has a share of them that does not change.

``./run test --full`` has all tests run on both that ask for ``database``, themselves or by a
fixture. Those that have a database's own fixture (``sqlite_journal_url``,
``postgres_journal_url``), or the stacks ``stack`` and ``fast``, which are on SQLite, run there
alone. ``none``: they have no journal, or one of their own making.

Each file of tests/integration says which it is (tests/unit/test_databases.py holds it to that)::

    pytestmark = pytest.mark.databases("both")

A test of another kind than its file's has a mark of its own. A database on which a test does not
run is no parameter of it: nothing is skipped.
"""

from __future__ import annotations

from zlib import crc32

import pytest

DATABASES = ("sqlite", "postgres")
#: What files say, and on which of the databases their tests run by default, or on one of which.
KINDS = {
    "both": DATABASES,
    "one": DATABASES,
    "sqlite": ("sqlite",),
    "postgres": ("postgres",),
    "none": (),
}


def chosen(kind: str, test: str, *, full: bool) -> tuple[str, ...]:
    """Return the databases on which a test runs.

    Args:
        kind: one of :data:`KINDS`.
        test: its name.
        full: all that have a journal run on either.
    """
    if full and KINDS[kind]:
        return DATABASES
    if kind == "one":
        return (DATABASES[crc32(test.encode()) % len(DATABASES)],)
    return KINDS[kind]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``database`` once on each that it is to run on.

    Raises:
        pytest.UsageError: neither the test nor its file says which these are.
    """
    if "database" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("databases")
    kind = marker.args[0] if marker else "none"
    databases = chosen(kind, metafunc.definition.name, full=metafunc.config.option.full)
    if not databases:
        raise pytest.UsageError(f"{metafunc.definition.nodeid} names no database: {__name__}")
    marks = {"sqlite": [], "postgres": [pytest.mark.postgres]}
    params = [pytest.param(name, marks=marks[name]) for name in databases]
    metafunc.parametrize("database", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> str:
    """The kind of the journal: each of those that the file names, in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database: str) -> str:
    """An empty journal of the newest schema, for this test alone, on the file's databases."""
    url: str = request.getfixturevalue(f"{database}_journal_url")
    return url
