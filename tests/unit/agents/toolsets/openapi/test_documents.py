"""Descriptions: their versions, digests and references."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from agents.toolsets.openapi.documents import Document, read_document
from celery_agents.errors import ConfigurationError

OPENAPI = {"openapi": "3.0.3", "paths": {}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "names no version"),
        ({}, "names no version"),
        ({"openapi": "4.0.0"}, "'4.0.0'"),
        ({"swagger": "1.2"}, "'1.2'"),
        ("text", "names no version"),
    ],
)
def test_what_is_none_is_refused(content: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Document(content)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no YAML"),
        ("{" + '"a":[' * 100_000, "is no JSON"),
        ("a: [", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "spec"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        read_document(str(path), None)


def test_yaml_is_read_as_json_has_it(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text('openapi: "3.1.0"\npaths: {}\nat: 2020-01-01\n200: {no: 1}\n')
    content = read_document(str(path), None).content
    assert content["at"] == "2020-01-01"
    assert content["200"] == {"false": 1}


def test_a_digest_is_kept_to(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"openapi": "3.0.0"}')
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_document(str(path), right).version == "3.0.0"
    with pytest.raises(ConfigurationError, match=right):
        read_document(str(path), "0" * 64)
    with pytest.raises(ConfigurationError, match="sha256"):
        read_document("https://example.com/spec.json", None)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_document(str(tmp_path / "none"), None)


def test_one_of_a_url_is_read_from_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network is asked for what is there by its digest."""
    raw = b'{"openapi": "3.0.0"}'
    digest = hashlib.sha256(raw).hexdigest()
    kept = tmp_path / "celery-agents" / "specs" / digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(raw)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert read_document("https://nowhere.invalid/spec.json", digest).version == "3.0.0"
    with pytest.raises(ConfigurationError, match="cannot be fetched"):
        read_document("https://nowhere.invalid/spec.json", "1" * 64)


def test_references_stay_within_it() -> None:
    about = {"a/b": {"c~d": [{"x": 1}]}, "round": {"$ref": "#/round"}}
    document = Document({**OPENAPI, **about})
    assert document.at("#/a~1b/c~0d/0") == {"x": 1}
    assert document.at("https://example.com/other.json#/x") == {}
    assert document.at("#/none/at/all") == {}
    assert document.resolved({"$ref": "#/round"}) == {}


@pytest.mark.parametrize(
    ("content", "server"),
    [
        ({"servers": [{"url": "https://a.b/v1"}]}, "https://a.b/v1"),
        ({"servers": [{"url": "/v1"}]}, None),
        ({}, None),
        (
            {"servers": [{"url": "https://{h}/", "variables": {"h": {"default": "a.b"}}}]},
            "https://a.b/",
        ),
        ({"servers": [{"url": "https://{h}/"}]}, None),
    ],
)
def test_where_the_service_is(content: Any, server: str | None) -> None:
    assert Document({**OPENAPI, **content}).server() == server


def test_where_a_service_of_swagger_is() -> None:
    about = {"swagger": "2.0", "host": "a.b", "basePath": "/v1"}
    assert Document(about).server() == "https://a.b/v1"
    assert Document({**about, "schemes": ["http"]}).server() == "http://a.b/v1"
    assert Document({"swagger": "2.0"}).server() is None
