"""What is streamed of a text is what comes of it whole, however it is cut."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.base import Turn
from agents.guarding.finding import Finding, Local, merged, replaced
from agents.guarding.marks import hidden
from agents.guarding.pii import PersonalData
from agents.guarding.screening import Screen, TextGuard
from agents.guarding.words import Words
from tests.support.drawn import costly, in_turn
from tests.support.personal import REGIONS, positives, traps

PERSONAL = PersonalData(("email", "card", "iban", "ssn", "phone", "ip"), REGIONS)
RULES = ("project blue", "blue moon", "moon*", "as as", "c++", "email", "card of anna*")
WORDS = Words(RULES)
KNOWN = "anna@example.org"
#: Wide letters, and figures of another script.
ODD = "".join(chr(ord(c) + 0xFEE0) for c in "projectblue") + "\u0664\u0661\u0661\u0661"
#: Parts of texts: data, words and their pieces, odd signs between them, long rows of one sign.
PIECES = (
    "project|blue|moon|moons|b1u3|pr0ject|Card of Anna|c++|@$|a$|email|⟨EMAIL_1⟩|⟨EMAIL_9⟩|⟨E|"
    "MAIL_1⟩|4111 1111|1111 1111|4111111111111111|DE89 3704 0044|0532 0130 00|anna|@example|.org|"
    "eve@example.org|81.2.|69.142|fe80:|:1:2:3|+49 30|901820|078-05|-1120|123-45-6789|Tel.|v|IP |"
    f"SSN|order no. |://a:b|為什麼|顧客資料|été|für|{ODD}"
).split("|")
BETWEEN = (" ", "  ", " \n\t", "\u200b", "\u00a0", "-", "_", ".", "@", "$", "\u00ad", "'")
ROWS = (" ", "\u200b", "客", "1 ", "x", "$", "a.", "1", "⟨", "\u0301", "@", "-", "(")
PARTS = st.one_of(
    st.sampled_from([text for _, text in positives()] + traps()),
    st.sampled_from(PIECES),
    st.sampled_from(BETWEEN),
    st.tuples(st.sampled_from(ROWS), st.integers(2, 700)).map(lambda told: told[0] * told[1]),
    st.text(max_size=12),
)
TEXTS = st.lists(PARTS, max_size=14).map("".join)


def screen(*rules: TextGuard) -> Screen:
    found = Screen(rules, Turn(input=f"I am {KNOWN}"))
    assert found.asked().input in {"I am ⟨EMAIL_1⟩", f"I am {KNOWN}"}
    return found


MASKS = (
    TextGuard("privacy", "mask", "mask", PERSONAL),
    TextGuard("words", "off", "mask", WORDS),
)


def whole(text: str, *rules: TextGuard) -> str:
    found = screen(*rules)
    return str(found.restored(found.said(text)))


def streamed(pieces: Iterable[str], *rules: TextGuard) -> str:
    held = screen(*rules).held()
    return "".join([held.add(piece) for piece in pieces]) + held.end()


def cut(text: str, cuts: Iterable[int]) -> list[str]:
    places = sorted({one % (len(text) + 1) for one in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(TEXTS, st.lists(st.integers(0, 1 << 20), max_size=30))
@example("project" + " " * 900 + "blue", range(0, 900, 7))
@example("project" + "\u200b" * 900 + " \u200b blue", range(0, 900, 7))
@example("project blue moon", range(20))
@example("客" * 16_000, range(0, 16_000, 48))
@example("see eve@example.org", range(30))
# What says what stands at a place is far before it, in what was told long ago.
@example(f"{'word ' * 200}see https://{'ab!' * 60}eve@example.org and so on.", range(0, 1_260, 7))
@settings(max_examples=costly(150), deadline=None)
def test_it_is_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    assert streamed(cut(text, cuts), *MASKS) == whole(text, *MASKS)


def of_parts(text: str, places: Sequence[int]) -> list[Finding]:
    """What stands in a text as a whole, and in each of its parts."""
    found = [*PERSONAL(text), *WORDS(text)]
    for a, b in pairwise([0, *places, len(text)]):
        part = text[a:b]
        found += [
            replace(f, start=f.start + a, end=f.end + a) for f in [*PERSONAL(part), *WORDS(part)]
        ]
    return merged(found)


def in_parts(text: str, places: Sequence[int], size: int, *rules: TextGuard) -> str:
    """What is streamed of it in pieces of a size, with an act at each of these places."""
    held, told = screen(*rules).held(), ""
    for a, b in pairwise([0, *places, len(text)]):
        told += "".join([held.add(text[n : min(n + size, b)]) for n in range(a, b, size)])
        told += held.part()
    return told + held.end()


OUTWARD = tuple(replace(rule, input="off") for rule in MASKS)


@pytest.mark.parametrize("size", [1, 6, 1_001])
def test_what_is_split_over_an_act_is_held_back_wherever_that_is(size: int) -> None:
    texts = (
        "My card is 4111 1111 1111 1111 2, and so on.",
        "To eve@example.org: all about project blue moon.",
        "IBAN DE89 3704 0044 0532 0130 00 of Card of Annabel.",
    )
    for text in texts:
        for place in in_turn(range(len(text) + 1), size, part=3):
            expected = replaced(text, of_parts(text, [place]), hidden)
            assert in_parts(text, [place], size, *OUTWARD) == expected


@given(TEXTS, st.lists(st.integers(0, 1 << 20), max_size=4), st.integers(1, 60))
@settings(max_examples=costly(80), deadline=None)
def test_nothing_that_stands_in_a_part_or_in_the_whole_is_told(
    text: str, cuts: list[int], size: int
) -> None:
    places = sorted({one % (len(text) + 1) for one in cuts})
    expected = replaced(text, of_parts(text, places), hidden)
    assert in_parts(text, places, size, *OUTWARD) == expected
    blocks = tuple(replace(rule, output="block") for rule in OUTWARD)
    found = of_parts(text, places)
    told = in_parts(text, places, size, *blocks)
    assert told == (text[: found[0].start] if found else text)


@given(TEXTS, st.lists(st.integers(0, 1 << 20), max_size=30))
@settings(max_examples=costly(60, part=2), deadline=None)
def test_behind_what_is_blocked_nothing_is_told_however_it_is_cut(
    text: str, cuts: list[int]
) -> None:
    found = merged([*PERSONAL(text), *WORDS(text)])
    rules = (
        TextGuard("privacy", "off", "block", PERSONAL),
        TextGuard("words", "off", "block", WORDS),
    )
    told = streamed(cut(text, cuts), *rules)
    assert told == (text[: found[0].start] if found else text)


@pytest.mark.parametrize("find", [PERSONAL, WORDS], ids=["data", "words"])
@given(text=TEXTS, more=TEXTS)
@settings(max_examples=costly(80, part=2), deadline=None)
def test_what_follows_changes_nothing_before_the_open_place(
    find: Any, text: str, more: str
) -> None:
    assert isinstance(find, Local)
    opened = find.open(text)
    before = {one for one in find(text) if one.start < opened}
    assert before == {one for one in find(text + more) if one.start < opened}


def told_of_json(pieces: Iterable[str]) -> str:
    """What is streamed of an answer that is JSON."""
    rules = tuple(replace(rule, input="off") for rule in MASKS)
    held = Screen(rules, Turn(input=None, answer_schema={"type": "object"})).held()
    return "".join([held.add(piece) for piece in pieces]) + held.end()


@given(TEXTS, st.lists(st.integers(0, 1 << 20), max_size=30))
@example("project blue eve@example.org \U0001f600@x", range(90))
@settings(max_examples=costly(60, part=2), deadline=None)
def test_a_text_of_json_is_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    source = json.dumps({"said": text})
    assert told_of_json(cut(source, cuts)) == told_of_json([source])


DATA = "eve@example.org|4111 1111 1111 1111|project blue|b1ue moon|客 eve@客.example"


@pytest.mark.parametrize("data", DATA.split("|"))
@pytest.mark.parametrize("size", [1, 5, 70])
def test_a_text_of_json_is_looked_at_as_it_reads(data: str, size: int) -> None:
    """A model may write any sign as an escape; whoever reads the answer does not see that."""
    for signs in (data, "@ 1", "e4o"):
        written = "".join(f"\\u{ord(c):04x}" if c in signs else c for c in data)
        source = f'{{"said": "\\u263a: {written}.\\n", "to": 1}}'
        shown = told_of_json(source[at : at + size] for at in range(0, len(source), size))
        said = json.loads(shown)["said"]
        assert said.startswith("\u263a: ")
        assert "⟨" in said
        assert data.rpartition(" ")[2] not in said


def test_little_is_held_back() -> None:
    held, given_, told = screen(*MASKS).held(), "", ""
    for n in range(1_000):
        piece = f"word{n} "
        given_ += piece
        told += held.add(piece)
        assert len(given_) - len(told) < 120
    assert len(held._raw) < 1_500


def test_many_marks_and_findings_take_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        found = screen(*MASKS)
        text = "⟨EMAIL_1⟩ eve@example.org, blue moon; " * count
        began = time.process_time()
        assert str(found.said(text)).count("⟨EMAIL⟩") == count
        held = found.held()
        assert (held.add(text) + held.end()).count(KNOWN) == count
        return time.process_time() - began

    short, long = max(seconds(200), 1e-3), seconds(2_000)
    assert long < 40 * short + 0.2


@pytest.mark.parametrize("unit", [*ROWS, "project ", "project " * 9])
def test_long_texts_take_time_in_proportion(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        began = time.process_time()
        streamed((text[at : at + 48] for at in range(0, len(text), 48)), *MASKS)
        return time.process_time() - began

    seconds(1_000)
    short, long = max(seconds(2_000), 1e-3), seconds(16_000)
    assert long < 40 * short + 0.2
