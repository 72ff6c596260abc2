"""Functions of SQLite of which one call may take long."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data import sql as tool
from tests.unit.agents.toolsets.builtin.support import called

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text("ab .05e+é𝄞", max_size=8),
)


@given(VALUES, st.text(" .05e+é𝄞", max_size=4) | st.none() | st.integers(0, 50))
def test_a_text_is_stripped_of_characters_as_by_sqlite(
    value: float | str | None, characters: int | str | None
) -> None:
    sql = "SELECT trim(a, b), ltrim(a, b), rtrim(a, b), trim(CAST(a AS BLOB), b), trim(a) FROM t"
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (a, b)")
        database.execute("INSERT INTO t VALUES (?, ?)", (value, characters))
        wanted = database.execute(sql).fetchone()
    found = called("data.query_table", tables={"t": [{"a": value, "b": characters}]}, sql=sql)
    assert found["rows"] == [[*wanted]]


@pytest.mark.parametrize(
    "call",
    ["instr(a, 'x')", "RePlace(a, 'x', '')", '"instr"(a, 1)', "(a LIKE '%x')", "(a gloB '*x')"],
)
def test_the_clock_is_looked_at_beside_each_call_that_takes_long(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    monkeypatch.setattr(tool, "time_limit", lambda _: lambda: looks.append(None))
    calls = 60
    query = f"SELECT {' || '.join([call] * calls)} FROM t"
    called("data.query_table", tables={"t": "a\nb\n"}, sql=query)
    assert len(looks) > calls


@pytest.mark.parametrize(
    "before", ["SELECT a FROM first", "SELECT b FROM first", "SELECT load_extension('x')"]
)
def test_nothing_of_another_call_is_there(before: str) -> None:
    query_table = tool.query_table
    with suppress(ToolError):
        query_table({"first": "a\n1\n2\n"}, before, 1)
    with pytest.raises(ToolError, match="no such table: first"):
        query_table({"t": "a\n1\n"}, "SELECT * FROM first")
    found = query_table(
        {"first": "b\n3\n"}, "SELECT name, (SELECT b FROM first) FROM sqlite_schema"
    )
    assert found["rows"] == [["first", 3]]
    with pytest.raises(ToolError, match="Only SELECT"):
        query_table({"t": "a\n1\n"}, "SELECT total_changes()")


@pytest.mark.parametrize("sql", ["SELECT FROM WHERE", "SELECT (1", "SELECT 'a"])
def test_sql_that_cannot_be_read_is_told_without_colours_of_a_terminal(sql: str) -> None:
    with pytest.raises(ToolError, match="cannot be read") as raised:
        called("data.inspect_sql", sql=sql)
    assert "\x1b" not in str(raised.value)


def test_what_could_not_be_read_leaves_nothing_to_the_next_call() -> None:
    wanted = called("data.inspect_sql", sql="SELECT a FROM t")
    for wrong in ("SELECT (1", "SELECT " + "(" * 900, "SELECT 'a", "x y z; SELECT b FROM u WHERE"):
        with pytest.raises(ToolError):
            called("data.inspect_sql", sql=wrong)
        assert called("data.inspect_sql", sql="SELECT a FROM t") == wanted
    assert called("data.inspect_sql", sql="SELECT [a] FROM t", dialect="tsql") == wanted
    assert called("data.inspect_sql", sql="SELECT a FROM t") == wanted
    with pytest.raises(ToolError, match="Unknown dialect"):
        called("data.inspect_sql", sql="SELECT a FROM t", dialect="nope")
