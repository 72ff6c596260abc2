"""Blocks of others' words are found wherever they stand, in time that grows with the text."""

from __future__ import annotations

import json

import pytest

from agents.guarding.marks import Marks
from agents.guarding.untrusted import as_data, marked
from app.journal.schema.rows import LazyPayload

BLOCK = as_data("of a page", "<b>")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (BLOCK, True),
        ({"a": [1, {"b": BLOCK}]}, True),
        (LazyPayload(json.dumps({"args": [BLOCK], "kwargs": {}})), True),
        (json.dumps(BLOCK), True),
        (json.dumps(json.dumps({"told": BLOCK})), True),
        (json.dumps(json.dumps(json.dumps([BLOCK]))), True),
        ("untrusted: Data of a page", False),
        ({"untrusted": True, "data": 1}, False),
        (None, False),
    ],
)
def test_a_block_is_found(value: object, *, found: bool) -> None:
    assert marked(value) is found


@pytest.mark.timeout(20)  # it took minutes, with each backslash begun anew
def test_backslashes_are_read_once() -> None:
    assert not marked("\\" * 1_000_000)


@pytest.mark.timeout(20)  # likewise, with each number counted anew
def test_many_texts_have_marks_of_their_own() -> None:
    marks = Marks(lambda: "⟨EMAIL_2⟩")
    made = [marks.of("email", f"{n}@x.org") for n in range(20_000)]
    assert len({*made, "⟨EMAIL_2⟩"}) == len(made) + 1
    assert [marks.of("email", f"{n}@x.org") for n in range(3)] == made[:3]
