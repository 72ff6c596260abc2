from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from celery_agents.client import partial
from celery_agents.client.partial import PartialAnswers, partial_json
from celery_agents.contracts.schema import form_of
from tests.support.drawn import costly

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | TEXTS
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


def says_no_more(some: Any, whole: Any) -> bool:
    """True when all of a partial value stands in the whole one, in its place."""
    if isinstance(some, dict):
        return isinstance(whole, dict) and all(
            key in whole and says_no_more(part, whole[key]) for key, part in some.items()
        )
    if isinstance(some, list):
        return (
            isinstance(whole, list)
            and len(some) <= len(whole)
            and all(map(says_no_more, some, whole))
        )
    if isinstance(some, str):
        return isinstance(whole, str) and whole.startswith(some)
    return type(some) is type(whole) and bool(some == whole)


@settings(max_examples=costly(100, part=3))
@given(
    VALUES, st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["{}", "```json\n{}\n```"])
)
@example([12, -1.5e10], False, None, "{}")
@example({"a": {"b": "\U0001f600"}}, True, None, "{}")
def test_a_prefix_says_no_more_than_the_whole(
    value: Any, ascii_only: bool, indent: int | None, around: str
) -> None:
    text = around.replace("{}", json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    before: Any = None
    for end in range(len(text) + 1):
        found = partial_json(text[:end])
        assert found is None or isinstance(found, dict | list)
        assert found is None or says_no_more(found, value)
        assert before is None or says_no_more(before, found), "it only grows"
        before = found
    assert before == (value if isinstance(value, dict | list) else None)


@given(st.text() | st.text('{}[]",:0123456789eE+-.\\u ntrfals`\n', max_size=60))
def test_any_text_gives_an_object_or_nothing(text: str) -> None:
    assert partial_json(text) is None or isinstance(partial_json(text), dict | list)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("Well, ", None),
        ('"text"', None),
        ('{"a": "b', {"a": "b"}),
        ('{"a": 12', {}),
        ('{"a": 12, "b": tr', {"a": 12}),
        ('  ```json\n{"a": [1, 2]}\n```\nDone.', {"a": [1, 2]}),
        ('{"a": NaN}', None),
        ('{"a": 1e999}', None),
        ("[" * 10_000, None),
        ('{"a": ***, "b": 1}', None),
    ],
)
def test_texts(text: str, value: Any) -> None:
    assert partial_json(text) == value


class Item(BaseModel):
    """An answer."""

    name: str


class Stream:
    """What a step tells, by the numbers of its events."""

    def __init__(self, answer: Any = Item) -> None:
        self.schema = TypeAdapter(answer).json_schema()
        self.answers = PartialAnswers(self.schema)
        self.n = 0

    def begin(self, kind: str = "state", token: int = 1, **about: Any) -> Any:
        self.n = 0
        return self.tell(kind, token, data={"form": form_of(self.schema)}, **about)

    def tell(self, kind: str, token: int = 1, step_id: str = "r", **about: Any) -> Any:
        self.n += 1
        told = {"type": kind, "step_id": step_id, "token": token, "n": self.n, **about}
        return self.answers.add(told)

    def says(self, text: str, token: int = 1, **about: Any) -> Any:
        return self.tell("text", token, text=text, **about)


def test_an_answer_grows_with_its_text() -> None:
    stream = Stream()
    assert stream.begin() is None
    assert [stream.says(piece) for piece in ('{"na', 'me": "t', 'ea"', "}")] == [
        *({}, {"name": "t"}, {"name": "tea"}, {"name": "tea"})
    ]


def test_an_answer_that_is_no_object_is_taken_out_of_the_one_that_it_stands_in() -> None:
    stream = Stream(list[Item])
    stream.begin()
    pieces = ("{", '"answer": [{"name', '": "x"}, {"name": "y')
    assert [stream.says(p) for p in pieces] == [None, [{}], [{"name": "x"}, {"name": "y"}]]


@pytest.mark.parametrize("void", ["tool", "tool_result", "restart"])
def test_the_answer_begins_anew(void: str) -> None:
    stream = Stream()
    stream.begin()
    stream.says('{"name": "x')
    stream.tell(void)
    assert stream.says('{"name": "y') == {"name": "y"}


def test_progress_is_told_within_an_answer() -> None:
    stream = Stream()
    stream.begin()
    stream.says('{"name": "x')
    stream.tell("progress")
    assert stream.says("y") == {"name": "xy"}


def test_the_next_attempt_begins_anew_and_a_frozen_one_is_not_heard() -> None:
    stream = Stream()
    stream.begin()
    stream.says('{"name": "x')
    stream.begin("restart", token=2)
    assert stream.says('{"name": "y', token=2) == {"name": "y"}
    stream.n = 5
    assert stream.says("z", token=1) is None
    stream.n = 2
    assert stream.says("z", token=2) == {"name": "yz"}


def test_a_text_of_which_a_piece_is_missing_is_left_out_until_it_begins_anew() -> None:
    stream = Stream()
    stream.begin()
    stream.says('{"name": "x')
    stream.n += 1
    assert stream.says('", "a": 1') is None
    assert stream.says("}") is None
    stream.begin("restart", token=2)
    assert stream.says('{"name": "y"}', token=2) == {"name": "y"}


def test_steps_of_another_form_are_left_out() -> None:
    stream = Stream()
    stream.begin()
    stream.n = 0
    stream.tell("state", step_id="other", data={"form": form_of({"type": "object"})})
    assert stream.says('{"name": "x"}', step_id="other") is None
    assert Stream().says('{"name": "x"}') is None


def test_what_hides_a_secret_leaves_the_answer_as_it_was() -> None:
    stream = Stream()
    stream.begin()
    stream.says('{"name": "x"')
    assert stream.says(', "key": *** ') == {"name": "x"}


def test_a_long_text_is_not_read_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(text: str) -> Any:
        read.append(len(text))
        return partial_json(text)

    monkeypatch.setattr(partial, "partial_json", counted)
    stream = Stream(list[str])
    stream.begin()
    stream.says('{"answer": [')
    pieces = 2_000
    for n in range(pieces):
        found = stream.says(json.dumps("x" * 500) + ",")
        assert len(found) >= n * 0.97 - 1
    assert len(read) < pieces / 4
