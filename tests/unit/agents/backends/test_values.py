from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.backends.values import digest, parse_json, plain_json, shown, text_of
from celery_agents.errors import BadAnswerError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_is_its_own_plain_form_and_comes_back_from_text(value: Any) -> None:
    assert plain_json(value) == value
    assert parse_json(json.dumps(value), who="x") == value
    assert parse_json(f"```json\n{json.dumps(value)}\n```", who="x") == value


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_digest_knows_no_key_order(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@pytest.mark.parametrize(("one", "other"), [(1, "1"), ([], {}), (None, ""), ([1, 2], [2, 1])])
def test_digest_tells_values_apart(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    "text", ["", "yes", "{", "[1,]", "NaN", '{"a": Infinity}', "```\nx\n```", b"\xff", "[" * 99_999]
)
def test_what_is_not_json(text: str | bytes) -> None:
    with pytest.raises(BadAnswerError, match=r"^it did not answer with JSON"):
        parse_json(text, who="it")


def test_text_of() -> None:
    assert text_of("as it is") == "as it is"
    assert text_of({"ü": [1]}) == '{"ü": [1]}'


def test_shown_is_short() -> None:
    assert len(shown("x" * 9999)) < 220
    assert shown(b"\xff") == "'�'"
