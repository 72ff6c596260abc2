from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.redaction import LIMIT, MOST, head, redact
from tests.support.cpu import cpu_s
from tests.support.drawn import in_turn
from tests.support.ordinary_texts import ORDINARY
from tests.support.secret_shapes import SHAPES, Shape, a, h

#: Characters of a secret that tell something of it.
TELLING = 5


def left(shape: Shape, shown: str) -> list[str]:
    """Pieces of the secret that are still there."""
    secret = shape.secret
    pieces = {secret[n : n + TELLING] for n in range(max(1, len(secret) - TELLING + 1))}
    return sorted(p for p in pieces if p in shown and p not in shape.form)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
def test_secrets_are_hidden_whole(shape: Shape) -> None:
    assert left(shape, redact(shape.text)) == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
def test_what_was_redacted_stays_as_it_is(shape: Shape) -> None:
    once = redact(shape.text)
    assert redact(once) == once


def test_the_table_is_large() -> None:
    assert len({s.form for s in SHAPES if s.form.count("{}") == 1}) > 150
    assert len({s.secret for s in SHAPES}) > 110


@pytest.mark.parametrize("around", ["{}", "It failed: {}", "{} (again)", "['{}', 1]"])
def test_ordinary_texts_stay(around: str) -> None:
    texts = [around.format(text) for text in ORDINARY]
    mangled = [text for text in texts if redact(text) != text]
    assert len(ORDINARY) > 200
    assert len(mangled) <= len(texts) * 0.02, mangled


@pytest.mark.parametrize(
    ("shape", "place"),
    [
        (shape, place)
        for n, shape in enumerate(SHAPES[::3])
        for place in in_turn([0, 40, 100, LIMIT - 5, LIMIT + 600, LIMIT + 1_000], n, part=3)
    ],
    ids=lambda s: getattr(s, "name", str(s)),
)
def test_no_cut_leaves_half_of_one(shape: Shape, place: int) -> None:
    text = f"{'word ' * (place // 5)}{shape.text} {'more text ' * 500}"
    assert left(shape, redact(text)) == []


@given(st.text(), st.integers(1, 3_000))
def test_the_limit_holds(text: str, limit: int) -> None:
    shown = redact(text * 20, limit=limit)
    assert len(shown) <= limit


def test_what_is_longer_than_shown_says_so() -> None:
    assert redact("x" * 10**6, limit=10**9).endswith("…")
    assert len(redact("x" * 10**6, limit=10**9)) <= MOST
    assert redact("short") == "short"


def test_a_head_ends_between_words() -> None:
    assert head("one two three", 9) == "one two"
    assert head("one", 9) == "one"
    assert head("o" * 5_000, 3_000) == "o" * 3_000


UNITS = (
    "a.", "a://", "a://x:", "://a@", "bearer ", "sk-", "-eyJ", "token:", "token=a,", "password='\\",
    "authorization: a ", "cookie:", "cookie: a=b", "-----BEGIN PRIVATE KEY-----", "a.a=", "&key=",
    'token "', ":8000:a:", "mysql -p", " -u a:", "\\", "(", " ", "=", "%3D", "login a password ",
)  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_is_redacted_in_no_time(unit: str) -> None:
    text = unit * (10**6 // len(unit))
    for limit in (LIMIT, MOST):
        assert cpu_s(partial(redact, text, limit=limit), 0.05) < 0.05


@pytest.mark.parametrize(
    "text",
    [f"password={a(40)}", f"key {a(3)} sk-{a(40)}", f"Bearer {a(40)}", f"redis://:{a(9)}@h/{h(9)}"],
)
def test_a_secret_next_to_itself(text: str) -> None:
    assert a(9) not in redact(f"{text}, {text} {text}\n{text}\t{text}")
