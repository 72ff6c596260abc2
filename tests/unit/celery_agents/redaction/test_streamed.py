from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_agents.redaction import MOST, redact
from celery_agents.redaction.streamed import HELD, LONGEST, WINDOW, StreamedText
from tests.support.drawn import costly, in_turn
from tests.support.ordinary_texts import ORDINARY
from tests.support.secret_shapes import SHAPES, Shape

BEFORE, AFTER = "It was said before that all is well. ", " And more is said behind it, at length."
#: Characters of a secret that tell something of it.
TELLING = 8


def streamed(text: str, cuts: list[int]) -> list[str]:
    """The text as it is told when it comes in pieces of these lengths, in turn."""
    stream, at = StreamedText(), 0
    told: list[str] = []
    while at < len(text):
        length = cuts[len(told) % len(cuts)]
        told.append(stream.add(text[at : at + length]))
        at += length
    return [*told, stream.end()]


def left(shape: Shape, shown: str) -> list[str]:
    secret = shape.secret
    pieces = {secret[n : n + TELLING] for n in range(max(1, len(secret) - TELLING + 1))}
    return sorted(p for p in pieces if p in shown and p not in shape.form)


@pytest.mark.parametrize(
    ("shape", "length"),
    [(s, length) for n, s in enumerate(SHAPES) for length in in_turn([1, 7, 50], n, part=3)],
    ids=lambda s: getattr(s, "name", str(s)),
)
def test_no_cut_lets_a_secret_through(shape: Shape, length: int) -> None:
    assert left(shape, "".join(streamed(BEFORE + shape.text + AFTER, [length]))) == []


@pytest.mark.parametrize("length", [7, 50, 500])
@pytest.mark.parametrize("lines", [30, 50, 100])
def test_a_key_that_is_longer_than_the_window_is_hidden_to_its_end(lines: int, length: int) -> None:
    """The front is let go of in its middle, behind which nothing says that it is one."""
    body = [f"{n:04}" + "MIIEpAIBAAKCAQEAt7" * 3 for n in range(lines)]
    fence = "-" * 5
    key = "\n".join([f"{fence}BEGIN PRIVATE KEY{fence}", *body, f"{fence}END PRIVATE KEY{fence}"])
    assert WINDOW // 2 < len(key) < LONGEST
    text = "word " * 300 + "\n" + key + "\n" + "more " * 600
    told = "".join(streamed(text, [length]))
    assert [line for line in body if line in told] == []
    assert told == redact(text, limit=MOST)


@settings(max_examples=costly(30, part=3))
@given(
    st.lists(st.sampled_from([*ORDINARY, *(s.text for s in SHAPES)]), max_size=60).map("\n".join),
    st.lists(st.integers(1, 120), min_size=1, max_size=10),
)
def test_many_secrets_in_a_long_text(text: str, cuts: list[int]) -> None:
    told = "".join(streamed(text, cuts))
    for shape in SHAPES:
        if not left(shape, redact(text, limit=MOST)):
            assert left(shape, told) == [], shape.name


@given(st.lists(st.integers(1, 200), min_size=1, max_size=10), st.integers(1, 400))
def test_a_text_without_secrets_comes_whole(cuts: list[int], words: int) -> None:
    text = "".join(f"word{n} " if n % 9 else "end.\n" for n in range(words))
    assert "".join(streamed(text, cuts)) == text


@pytest.mark.parametrize("sign", ["客", "é", "x"])
@pytest.mark.parametrize("length", [48, 700, 5_000, 20_000])
def test_a_text_without_blanks_comes_whole(sign: str, length: int) -> None:
    text = sign * 40_000
    assert "".join(streamed(text, [length])) == text


def test_what_is_held_back_is_short() -> None:
    stream, given_, got = StreamedText(), "", ""
    for n in range(2_000):
        piece = f"word{n} "
        given_ += piece
        got += stream.add(piece)
        assert len(given_) - len(got) <= HELD + 2 * len(piece)


def test_a_word_without_an_end_takes_no_memory() -> None:
    stream = StreamedText()
    for _ in range(400):
        stream.add("x" * 100)
        assert len(stream._raw) <= LONGEST + 100
    assert WINDOW < LONGEST
