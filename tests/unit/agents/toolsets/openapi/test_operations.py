"""The operations of a description: names, routes, arguments."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agents.toolsets.openapi.documents import Document
from agents.toolsets.openapi.operations import Routes, ServiceOperation, operations_of, routes_of

TEXT = {"type": "string"}
ANY = Routes(())


def read(paths: Any, *, include: Routes = ANY, exclude: Routes = ANY, prefix: str = "") -> Any:
    document = Document({"openapi": "3.1.0", "paths": paths})
    return operations_of(document, include=include, exclude=exclude, prefix=prefix)


def one(operation: Any, path: str = "/x") -> ServiceOperation:
    (found,) = read({path: {"post": operation}})
    assert isinstance(found, ServiceOperation)
    return found


def test_names_are_unique_and_legal() -> None:
    long = "listAllTheThings" * 10
    paths: dict[str, Any] = {
        f"/{n}": {"get": {"operationId": told}}
        for n, told in enumerate(["a/b", "a-b", "a b", long, long + "x", "", None, "日本"])
    }
    names = [operation.name for operation in read(paths)]
    assert len(set(names)) == len(names) == 8
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
    assert names == [operation.name for operation in read(paths)]
    assert all(len(operation.name) <= 54 for operation in read(paths, prefix="ten_chars_"))


@pytest.mark.parametrize(
    ("include", "exclude", "found"),
    [
        ([], [], ["get /a", "post /a/b", "get /a/b/c"]),
        (["GET /**"], [], ["get /a", "get /a/b/c"]),
        (["* /a/*"], [], ["post /a/b"]),
        (["GET /a**"], ["get /a/*/c"], ["get /a"]),
        ([], ["POST /**"], ["get /a", "get /a/b/c"]),
    ],
)
def test_routes_choose(include: list[str], exclude: list[str], found: list[str]) -> None:
    paths: Any = {"/a": {"get": {}}, "/a/b": {"post": {}}, "/a/b/c": {"get": {}, "x-y": {}}}
    made = read(paths, include=Routes(include), exclude=Routes(exclude))
    assert [f"{operation.method} {operation.path}" for operation in made] == found
    assert len(routes_of(Document({"openapi": "3.1.0", "paths": paths}))) == 3


def test_parameters_of_one_name_stay_apart() -> None:
    told = [
        {"name": "id", "in": "path", "schema": TEXT},
        {"name": "id", "in": "query", "schema": TEXT},
        {"name": "body", "in": "query", "schema": TEXT},
        {"name": "filter[a b]", "in": "query", "schema": TEXT},
    ]
    made = one({"parameters": told}, path="/{id}")
    assert {key: (a.name, a.where) for key, a in made.arguments.items()} == {
        "id": ("id", "path"),
        "id__query": ("id", "query"),
        "body__query": ("body", "query"),
        "filter_a_b": ("filter[a b]", "query"),
    }
    assert made.parameters["required"] == ["id"]


def test_an_operation_has_its_own_word_over_its_paths() -> None:
    paths = {
        "/x": {
            "parameters": [{"name": "a", "in": "query", "description": "old", "schema": TEXT}],
            "get": {"parameters": [{"name": "a", "in": "query", "required": True, "schema": TEXT}]},
        }
    }
    (made,) = read(paths)
    assert made.parameters["properties"] == {"a": TEXT}
    assert made.parameters["required"] == ["a"]


@pytest.mark.parametrize(
    ("content", "media"),
    [
        (["text/plain", "application/json"], "application/json"),
        (["application/vnd.x+json"], "application/vnd.x+json"),
        (["application/x-www-form-urlencoded", "multipart/form-data"], "multipart/form-data"),
        (["application/octet-stream"], "application/octet-stream"),
    ],
)
def test_the_body_that_is_sent(content: list[str], media: str) -> None:
    told = {"required": True, "content": {name: {"schema": TEXT} for name in content}}
    made = one({"requestBody": told})
    assert made.body == media
    assert made.parameters["required"] == ["body"]


def test_a_body_without_content_is_none() -> None:
    assert one({"requestBody": {"required": True}}).body is None


def test_swagger_has_bodies_and_forms_among_its_parameters() -> None:
    paths = {
        "/a": {"post": {"parameters": [{"name": "it", "in": "body", "required": True}]}},
        "/b": {
            "post": {
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"name": "f", "in": "formData", "type": "file", "required": True},
                    {"name": "q", "in": "query", "type": "array", "collectionFormat": "multi"},
                    {"name": "r", "in": "query", "type": "array", "collectionFormat": "pipes"},
                ],
            }
        },
    }
    document = Document({"swagger": "2.0", "paths": paths})
    first, second = operations_of(document, include=ANY, exclude=ANY)
    assert (first.body, first.parameters["required"]) == ("application/json", ["body"])
    assert second.body == "multipart/form-data"
    assert second.parameters["properties"]["body"]["required"] == ["f"]
    styles = {key: (a.style, a.explode) for key, a in second.arguments.items()}
    assert styles == {"q": ("form", True), "r": ("pipeDelimited", False)}
