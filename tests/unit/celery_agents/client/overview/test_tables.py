from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.client.overview.tables import ago, dollars, table

CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=60)


def test_a_table_that_fits_is_left_alone() -> None:
    assert table(("run", "why"), [("r", "so")], within=80) == ["run  why", "r    so"]


def test_the_widest_column_gives_way_and_the_first_never() -> None:
    row = ("01890000-0000-7000-8000-000000000000", "x" * 30, "y" * 90)
    head, line = table(("run", "agent", "why"), [row], within=80)
    assert len(line) == 80
    assert line.startswith(f"{row[0]}  {'x' * 10}")
    assert line.endswith("…")
    assert head.split() == ["run", "agent", "why"]


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), max_size=5), st.integers(90, 200))
def test_no_line_is_longer(rows: list[tuple[str, ...]], within: int) -> None:
    lines = table(("a", "b", "c", "d"), rows, within=within)
    assert len(lines) == len(rows) + 1
    assert max(map(len, lines)) <= within


def test_columns_that_can_be_spared_are_left_out_before_the_first_is_cut() -> None:
    head = ("name", "state", "max", "mean", "cost")
    row = ("agents.fallback", "succeeded", "1.25 s", "250 ms", "$0.0100")
    assert len(table(head, [row], within=80, spare=("max", "mean"))[1].split("  ")) == 5
    lines = table(head, [row], within=44, spare=("max", "mean"))
    assert lines[0].split() == ["name", "state", "mean", "cost"]
    assert lines[1].startswith("agents.fallback  ")
    named = table(head, [("n" * 200, *row[1:])], within=44, spare=("max", "mean"))
    assert named[0].split() == ["name", "state", "cost"]
    assert max(map(len, named)) == 44
    assert "n…  " in named[1]


def test_controls_do_not_reach_a_terminal() -> None:
    assert table(("a",), [("\x1b[2J\n",)], within=80)[1] == "\\x1b[2J\\n"


@pytest.mark.parametrize(
    ("seconds", "told"), [(-1, "0 s ago"), (59, "59 s ago"), (3600, "1 h ago"), (9e5, "10 d ago")]
)
def test_ago(seconds: float, told: str) -> None:
    assert ago(seconds) == told


@pytest.mark.parametrize(("usd", "told"), [(None, "?"), (0.0, ""), (0.12345, "$0.1235")])
def test_dollars(usd: float | None, told: str) -> None:
    assert dollars(usd) == told
