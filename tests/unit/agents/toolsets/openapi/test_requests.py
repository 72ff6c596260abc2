"""Arguments in the places and styles of a request."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.tools.calls import ToolError
from agents.toolsets.openapi.operations import Argument, ServiceOperation
from agents.toolsets.openapi.requests import ServiceRequest, prepare

ARRAY, OBJECT = ["blue", "black", "brown"], {"R": 100, "G": 200, "B": 150}


def prepared(argument: Argument, value: Any) -> ServiceRequest:
    path = "/{color}" if argument.where == "path" else "/x"
    made = ServiceOperation("get", path, "x", "", {"properties": {}}, {"color": argument})
    return prepare(made, {"color": value})


@pytest.mark.parametrize(
    ("style", "explode", "text", "array", "mapping"),
    [
        ("matrix", False, ";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"),
        (
            *("matrix", True, ";color=blue", ";color=blue;color=black;color=brown"),
            ";R=100;G=200;B=150",
        ),
        ("label", False, ".blue", ".blue,black,brown", ".R,100,G,200,B,150"),
        ("label", True, ".blue", ".blue.black.brown", ".R=100.G=200.B=150"),
        ("simple", False, "blue", "blue,black,brown", "R,100,G,200,B,150"),
        ("simple", True, "blue", "blue,black,brown", "R=100,G=200,B=150"),
    ],
)
def test_styles_of_paths(style: str, explode: bool, text: str, array: str, mapping: str) -> None:
    """The style values of OpenAPI 3.1, 4.8.12.4."""
    argument = Argument("color", "path", style, explode)
    told = [prepared(argument, value).path[1:] for value in ("blue", ARRAY, OBJECT)]
    assert told == [text, array, mapping]


@pytest.mark.parametrize(
    ("style", "explode", "array", "mapping"),
    [
        ("form", False, "color=blue,black,brown", "color=R,100,G,200,B,150"),
        ("form", True, "color=blue&color=black&color=brown", "R=100&G=200&B=150"),
        (
            "spaceDelimited",
            False,
            "color=blue%20black%20brown",
            "color=R%20100%20G%20200%20B%20150",
        ),
        (
            *("pipeDelimited", False, "color=blue%7Cblack%7Cbrown"),
            "color=R%7C100%7CG%7C200%7CB%7C150",
        ),
        (
            *("deepObject", True, "color=blue,black,brown"),
            "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150",
        ),
    ],
)
def test_styles_of_queries(style: str, explode: bool, array: str, mapping: str) -> None:
    argument = Argument("color", "query", style, explode)
    assert prepared(argument, "blue").query == ["color=blue"]
    assert "&".join(prepared(argument, ARRAY).query) == array
    assert "&".join(prepared(argument, OBJECT).query) == mapping


@given(st.text(st.characters(codec="utf-8")), st.lists(st.text(st.characters(codec="utf-8"))))
def test_no_text_leaves_its_place(text: str, several: list[str]) -> None:
    (pair,) = prepared(Argument("color", "query"), text).query
    assert unquote(pair.partition("=")[2]) == text
    assert not set(pair) & set("&#? /")
    told = prepared(Argument("color", "query", explode=True), several).query
    assert [unquote(one.partition("=")[2]) for one in told] == several
    if several:
        (joined,) = prepared(Argument("color", "query", explode=False), several).query
        assert [unquote(one) for one in joined.partition("=")[2].split(",")] == several


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_path_keeps_its_parts(text: str) -> None:
    argument = Argument("color", "path", "simple", explode=False)
    if text in {".", ".."}:
        with pytest.raises(ToolError):
            prepared(argument, text)
        return
    path = prepared(argument, text).path
    assert path.count("/") == 1
    assert unquote(path[1:]) == text


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\x00", "ü", "a\x7f"])
def test_a_header_is_one_line_of_ascii(text: str) -> None:
    with pytest.raises(ToolError):
        prepared(Argument("color", "header", "simple", explode=False), text)


@pytest.mark.parametrize(
    ("argument", "between"),
    [
        (Argument("color", "query", "pipeDelimited", explode=False), "|"),
        (Argument("color", "query", "spaceDelimited", explode=False), " "),
        (Argument("color", "query", "form", explode=False, allow_reserved=True), ","),
        (Argument("color", "path", "label", explode=True), "."),
        (Argument("color", "header", "simple", explode=False), ","),
    ],
    ids=lambda one: getattr(one, "style", None),
)
def test_no_value_is_read_as_two(argument: Argument, between: str) -> None:
    """Where a style has no escape for what stands between values, none may have it."""
    for value in (
        ["blue", f"a{between}b"],
        [between],
        {"R": f"1{between}2"},
        {"R": "1", "G": between},
    ):
        with pytest.raises(ToolError, match="no value can have"):
            prepared(argument, value)
    assert prepared(argument, f"a{between}b")  # it stands alone
    assert prepared(argument, ARRAY)
