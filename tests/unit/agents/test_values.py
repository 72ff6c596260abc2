from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.plain import plain_json
from agents.values import answer_in, digest, digest_of_json, parse_json, shown, text_of, within
from celery_agents.errors import BadAnswerError
from tests.support.drawn import costly

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


THINK = "<think>\nHm, {1: 2}?\n</think>\n\n"


@pytest.mark.parametrize(
    "around",
    [
        "%s",
        "\n %s \n",
        "```\n%s\n```",
        "```json\n%s\n```",
        "``` json\n%s\n ```\n",
        "```JSON %s```",
        f"{THINK}%s",
        f"{THINK}```json\n%s\n```",
        "<Thinking>so</Thinking><reasoning>\nso</reasoning>%s",
        "as its template opened it {already}\n</think>\n%s",
        "Here you are:\n```json\n%s\n```\nAnything else?",
        f"{THINK}Here you are:\n\n```\n%s\n```",
    ],
)
@pytest.mark.parametrize(
    "value", [{"a": "use </think> or ```\n"}, [1], "<think>", 7, None, {"b": "```json\n1\n```"}]
)
def test_json_behind_thoughts_and_in_a_fence(around: str, value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(around % text, who="x") == value
    assert parse_json((around % text).encode(), who="x") == value


@pytest.mark.parametrize(
    "text",
    [
        "```json\n1\n```\nor\n```json\n2\n```",  # which one?
        'I think {"option": "yes"} is right',
        "<think>{}",
        f"{THINK}",
        f"{THINK}so",
        "```json\nNaN\n```",
        "Here:\n```json\n{'a': 1}\n```",
    ],
)
def test_json_of_which_there_is_doubt(text: str) -> None:
    with pytest.raises(BadAnswerError):
        parse_json(text, who="x")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", "yes"),
        (" yes\n", "yes"),
        (f"{THINK}yes", "yes"),
        ("hm</think>yes", "yes"),
        ("```\nyes\n```", "yes"),
        ("<think>for ever", "<think>for ever"),
        ("Here:\n```\nyes\n```", "Here:\n```\nyes\n```"),
        ("", ""),
    ],
)
def test_the_answer_of_a_text(text: str, answer: str) -> None:
    assert answer_in(text) == answer


def test_a_long_text_is_read_in_time() -> None:
    for text in (
        "<think>" * 20_000,
        "<think></think>" * 20_000,
        "</think>" * 20_000,
        "```\n" * 50_000,
        "```x\n" * 50_000,
        f"```{' ' * 50_000}x",
        f"```\n{' ' * 50_000}x\n",
        f"```\na{' ' * 50_000}x```",
    ):
        with pytest.raises(BadAnswerError):
            parse_json(text, who="x")


@settings(max_examples=costly(100, part=3))
@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_digest_knows_no_key_order(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(json_values)
def test_the_digest_of_what_is_json_is_the_same(value: Any) -> None:
    """Journaled calls are known by it: none may be called anew after an update."""
    assert digest_of_json(value) == digest(value)


@pytest.mark.parametrize(
    "text", [None, True, 0, -7, 2**70, 0.1, 1e300, "", 'aü\u2028\ud83d\ude00"\\\n']
)
def test_a_digest_is_of_sorted_json_in_ascii(text: Any) -> None:
    for value in (text, [text], {"b": [text, {}], "a": {"ü": text}}, [[], [text, [text]]]):
        written = json.dumps(value, sort_keys=True, separators=(",", ":"))
        assert digest_of_json(value) == hashlib.sha256(written.encode()).hexdigest()[:32]


def test_what_is_no_json_has_no_digest() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest_of_json([object()])


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


@given(json_values)
@example(["\x01" * 40])
@example({"\x01": 1.2345678901234567e-300, "\x02": -1.2345678901234567e-300})
@example([[[[[[[[[[[[[]]]]]]]]]]]]])
@example([False] * 9)
def test_what_is_within_a_size_has_six_times_as_many_bytes_at_the_most(value: Any) -> None:
    limit = len(text_of(value).encode(errors="replace")) - 1
    assert limit < 24 or not within(value, limit // 6)
