from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.visible import visible, visible_block, visible_lines

STEERING = [
    "\x1b",
    "\x07",
    "\x00",
    "\r",
    "\x7f",
    "\x9b",
    "\x85",
    "\u2028",
    "\u202e",
    "\u2066",
    "\ufeff",
]


@pytest.mark.parametrize("sign", STEERING)
@pytest.mark.parametrize("way", [visible, visible_lines, visible_block])
def test_what_steers_a_terminal_is_escaped(sign: str, way: object) -> None:
    assert callable(way)
    shown = way(f"a{sign}]0;title b")
    assert sign not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("]0;title b")


@pytest.mark.parametrize(
    ("text", "line", "lines", "block"),
    [
        ("plain ü 漢字 🤖", *["plain ü 漢字 🤖"] * 3),
        ("a\nb", "a\\nb", "a\nb", "a\n    b"),
        ("a\tb", "a\\tb", "a\tb", "a\tb"),
        ("\x1b[31m", *["\\x1b[31m"] * 3),
        (7, *["7"] * 3),
    ],
)
def test_lines(text: object, line: str, lines: str, block: str) -> None:
    assert (visible(text), visible_lines(text), visible_block(text)) == (line, lines, block)


@given(st.text())
def test_one_line_is_one(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert visible(shown) == shown
