"""Operations as tools, of a real server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agents.net.clients import SharedClients
from agents.tools.base import CallContext
from agents.tools.calls import ToolError, ToolFailedError
from agents.tools.toolset import FixedToolset
from agents.toolsets.entries import NamedTools
from agents.toolsets.kinds import KINDS, ToolResources
from celery_agents.errors import ConfigurationError
from tests.support.drawn import costly
from tests.support.recording import Recording, Says

TEXT = {"type": "string"}
#: ``MANY_CALLS=1000``: the measured ones.
MANY_CALLS = int(os.environ.get("MANY_CALLS", "60"))
SECRET = "a-secret-of-the-service-0123456789"


@pytest.fixture
def server() -> Iterator[Recording]:
    with Recording() as made:
        yield made


class Desk:
    """A toolset of a description."""

    def __init__(self, folder: Path, paths: Any, **fields: Any) -> None:
        spec = folder / "spec.json"
        spec.write_text(json.dumps({"openapi": "3.1.0", "paths": paths, **fields.pop("doc", {})}))
        self._clients = SharedClients()
        resources = ToolResources({"KEY": SECRET}.get, ThreadPoolExecutor(1), self._clients)
        kind = KINDS["openapi"]
        entry: NamedTools = kind.entry.model_validate(
            {"kind": "openapi", "spec": str(spec)} | fields
        )
        found = kind.make("desk", entry, resources)
        assert isinstance(found, FixedToolset)
        self.toolset = found
        self.tools = {tool.name: tool for tool in found.tools}

    def call(self, name: str, arguments: Any = MappingProxyType({})) -> Any:
        async def main() -> Any:
            step: Any = None
            context = CallContext("key-1", step)
            given = dict(arguments) if isinstance(arguments, MappingProxyType) else arguments
            try:
                return await self.tools[name].call(given, context=context)
            finally:
                await self.toolset.aclose()

        return asyncio.run(main())


def paths(**operations: Any) -> Any:
    return {f"/{name}": {"get": {"operationId": name, **told}} for name, told in operations.items()}


def test_what_is_sent_and_told(server: Recording, tmp_path: Path) -> None:
    told = {
        "/things/{id}": {
            "put": {
                "operationId": "put_thing",
                "summary": "Puts a thing.",
                "parameters": [
                    {"name": "id", "in": "path", "schema": TEXT},
                    {"name": "tags", "in": "query", "schema": {"type": "array", "items": TEXT}},
                    {"name": "X-Why", "in": "header", "schema": TEXT},
                    {"name": "c", "in": "cookie", "schema": TEXT},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
            }
        }
    }
    desk = Desk(tmp_path, told, server=f"{server.url}/v1/", auth={"bearer_env": "KEY"}, prefix="d_")
    tool = desk.tools["d_put_thing"]
    assert tool.description == "Puts a thing.\n(PUT /things/{id})"
    assert (tool.effects, tool.policy.untrusted) == ("idempotent", True)
    server.says.append(Says(b'{"ok": [1, "\xc3\xbc"]}'))
    arguments = {"id": "a/b?", "tags": ["x y", "&"], "X-Why": "so", "c": "1;2", "body": {"n": "ü"}}
    assert desk.call("d_put_thing", arguments) == {"ok": [1, "ü"]}
    (got,) = server.got
    assert (got.method, got.target) == ("PUT", "/v1/things/a%2Fb%3F?tags=x%20y&tags=%26")
    assert got.headers["authorization"] == f"Bearer {SECRET}"
    assert got.headers["idempotency-key"] == "key-1"
    assert (got.headers["x-why"], got.headers["cookie"]) == ("so", "c=1%3B2")
    assert json.loads(got.body) == {"n": "ü"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "lacks 'id'"),
        ({"id": 3}, "id is not of type string"),
        ({"id": "x", "other": 1}, "other"),
        ([], "JSON object"),
        ({"id": ".."}, "cannot stand in a path"),
    ],
)
def test_wrong_arguments_are_not_sent(
    server: Recording, tmp_path: Path, arguments: Any, told: str
) -> None:
    one = {
        "/{id}": {
            "get": {
                "operationId": "it",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": TEXT}],
            }
        }
    }
    desk = Desk(tmp_path, one, server=server.url)
    with pytest.raises(ToolError, match=told):
        desk.call("it", arguments)
    assert not server.got


@pytest.mark.parametrize(
    ("says", "kind", "told"),
    [
        (Says(b"no such thing", 404), ToolError, "HTTP 404: no such thing"),
        (Says(b"later", 503, {"Retry-After": "3"}), ToolFailedError, r"503: later \(retry after 3"),
        (Says(b"", 302, {"Location": "http://10.0.0.1/"}), ToolError, "not followed"),
        (Says(b"x" * 2_000), ToolError, "more than 1,000 bytes"),
        (Says(f"the key {SECRET} is wrong".encode(), 401), ToolError, "HTTP 401"),
    ],
)
def test_what_a_service_refuses(
    server: Recording, tmp_path: Path, says: Says, kind: type[Exception], told: str
) -> None:
    desk = Desk(
        tmp_path,
        paths(it={}),
        server=server.url,
        auth={"bearer_env": "KEY"},
        max_response_bytes=1000,
    )
    server.says.append(says)
    with pytest.raises(kind, match=told) as caught:
        desk.call("it")
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "where"),
    [
        ({"headers": {"X-Key": "KEY"}}, "x-key"),
        ({"query": {"key": "KEY"}}, "target"),
        ({"cookies": {"key": "KEY"}}, "cookie"),
        ({"user": "me", "password_env": "KEY"}, "authorization"),
    ],
)
def test_secrets_go_where_they_belong(
    server: Recording, tmp_path: Path, auth: Any, where: str
) -> None:
    desk = Desk(tmp_path, paths(it={}), server=server.url, auth=auth)
    desk.call("it")
    (got,) = server.got
    told = got.target if where == "target" else got.headers[where]
    assert SECRET in told or told.startswith("Basic ")


def test_a_secret_that_is_not_set_is_named(server: Recording, tmp_path: Path) -> None:
    desk = Desk(tmp_path, paths(it={}), server=server.url, auth={"bearer_env": "OTHER"})
    with pytest.raises(ToolError, match="OTHER is not set"):
        desk.call("it")
    assert not server.got


def test_pages_by_links_stay_at_their_server(server: Recording, tmp_path: Path) -> None:
    desk = Desk(tmp_path, paths(it={}), server=server.url, pages={"most": 3})
    server.says = [
        Says(b"[1]", headers={"Link": '</it?page=2>; rel="next", </it?page=9>; rel="last"'}),
        Says(b"[2]", headers={"Link": '<http://elsewhere.invalid/it>; rel="next"'}),
    ]
    assert desk.call("it", {"pages": 3}) == [1, 2]
    assert [got.target for got in server.got] == ["/it", "/it?page=2"]
    server.says = [Says(b"[1]", headers={"Link": "</it?page=2>; rel=next"}) for _ in range(3)]
    assert desk.call("it", {"pages": 3}) == {"items": [1, 1, 1], "more": True}
    server.says = [Says(b"[1]", headers={"Link": "</it?page=2>; rel=next"})]
    assert desk.call("it") == [1]


def test_pages_by_marks(server: Recording, tmp_path: Path) -> None:
    pages = {"most": 5, "field": "meta.next", "parameter": "after", "items": "data"}
    desk = Desk(tmp_path, paths(it={}), server=server.url, pages=pages)
    server.says = [
        Says(b'{"data": [1], "meta": {"next": "a&b"}}'),
        Says(b'{"data": [2], "meta": {"next": 7}}'),
        Says(b'{"data": [3], "meta": {}}'),
    ]
    assert desk.call("it", {"pages": 5}) == [1, 2, 3]
    assert [got.target for got in server.got] == ["/it", "/it?after=a%26b", "/it?after=7"]


def test_a_server_that_only_its_description_names_is_of_the_internet(
    server: Recording, tmp_path: Path
) -> None:
    desk = Desk(tmp_path, paths(it={}), doc={"servers": [{"url": server.url}]})
    with pytest.raises(ToolError, match="server = "):
        desk.call("it")
    assert not server.got


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"include": ["GET /none"]}, "include: GET /none fits none of 1 routes"),
        ({"approve": {"POST /**": "ask"}}, "approve: POST"),
        ({"approve": {"none": "ask"}}, "no tool has a name like none"),
        ({"server": None}, "names no server"),
    ],
)
def test_what_fits_nothing_is_told(tmp_path: Path, fields: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Desk(tmp_path, paths(it={}), **{"server": "http://localhost"} | fields)


def test_people_are_asked_by_route(tmp_path: Path) -> None:
    told = {
        "/a": {"get": {"operationId": "ga"}, "post": {"operationId": "pa"}},
        "/b": {"post": {"operationId": "pb"}},
    }
    approve = {"POST /**": "ask", "* /b": "never"}
    desk = Desk(tmp_path, told, server="http://localhost", approve=approve, prefix="x_")
    said = {name: tool.policy.approve for name, tool in desk.tools.items()}
    assert said == {"x_ga": "never", "x_pa": "ask", "x_pb": "never"}
    assert [tool.effects for tool in desk.tools.values()] == ["idempotent", "effect", "effect"]


# -- a server made of the same description

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
_VALUES = {
    "text": (TEXT, _WORDS),
    "number": ({"type": "integer"}, st.integers()),
    "flag": ({"type": "boolean"}, st.booleans()),
    "array": ({"type": "array", "items": TEXT}, st.lists(_WORDS, min_size=1, max_size=4)),
    "object": (
        {"type": "object", "additionalProperties": TEXT},
        st.dictionaries(_WORDS, _WORDS, min_size=1, max_size=3),
    ),
}
_STYLES = [("form", True), ("form", False), ("deepObject", True), ("pipeDelimited", False)]


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any], Any]:
    """Parameters of a query by their styles, their values, and a JSON body."""
    parameters, values = [], {}
    for number in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(sorted(_VALUES)))
        style, explode = draw(st.sampled_from(_STYLES))
        schema, some = _VALUES[kind]
        if kind == "object" and (style, explode) == ("form", True) and number:
            continue  # its fields have no name of their own: one of them is all that can be told
        parameters.append(
            {
                "name": f"p{number}",
                "in": "query",
                "schema": schema,
                "style": style,
                "explode": explode,
            }
        )
        value = draw(some)
        if style == "pipeDelimited" and kind in {"array", "object"}:
            assume("|" not in str(value))
        values[f"p{number}"] = value
    body = draw(st.recursive(st.none() | st.booleans() | st.integers() | _WORDS, st.lists))
    return parameters, values, body


def understood(query: str, parameter: dict[str, Any]) -> Any:
    """What a server reads, by the style that the description tells it."""
    name, kind = parameter["name"], parameter["schema"]["type"]
    pairs = [pair.split("=", 1) for pair in query.split("&") if pair]
    style, explode = parameter["style"], parameter["explode"]
    if kind == "object" and style == "deepObject":
        found = [(unquote(k), unquote(v)) for k, v in pairs]
        return {k[len(name) + 1 : -1]: v for k, v in found if k.startswith(f"{name}[")}
    if kind == "object" and explode:
        return {unquote(k): unquote(v) for k, v in pairs if not k.startswith("p")}
    own = [v for k, v in pairs if unquote(k) == name]
    between = {"pipeDelimited": "%7C"}.get(style, ",")
    if kind in {"array", "object"} and not (explode and style == "form"):
        own = own[0].split(between)
    told = [unquote(v) for v in own]
    if kind == "object":
        return dict(zip(told[::2], told[1::2], strict=True))
    if kind == "array":
        return told
    if kind == "boolean":
        return told[0] == "true"
    return int(told[0]) if kind == "integer" else told[0]


@settings(
    max_examples=costly(1_000, part=40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(calls())
def test_a_server_of_the_same_description_understands_each_call(
    server: Recording, tmp_path: Path, call: Any
) -> None:
    parameters, values, body = call
    told = {"operationId": "it", "parameters": parameters}
    told["requestBody"] = {"content": {"application/json": {"schema": {}}}}
    desk = Desk(tmp_path, {"/it": {"post": told}}, server=server.url)
    desk.call("it", {**values, "body": body})
    got = server.got[-1]
    query = urlsplit(got.target).query
    exploded = [p for p in parameters if p["schema"]["type"] == "object" and p["style"] == "form"]
    if not any(p["explode"] for p in exploded) or len(parameters) == 1:
        assert {p["name"]: understood(query, p) for p in parameters} == values
    assert json.loads(got.body) == body


def test_forms(server: Recording, tmp_path: Path) -> None:
    form = {"type": "object", "properties": {"f": {"type": "string", "format": "binary"}}}
    told = {
        f"/{name}": {
            "post": {"operationId": name, "requestBody": {"content": {media: {"schema": form}}}}
        }
        for name, media in [
            ("m", "multipart/form-data"),
            ("u", "application/x-www-form-urlencoded"),
        ]
    }
    desk = Desk(tmp_path, told, server=server.url)
    desk.call("m", {"body": {"f": "AAH/", "n": 1, "o": {"a": [1]}, "l": ["x", "y"]}})
    got = server.got[-1]
    assert got.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"\x00\x01\xff" in got.body
    assert b'name="o"' in got.body
    assert b'{"a":[1]}' in got.body
    assert got.body.count(b'name="l"') == 2
    desk.call("u", {"body": {"a": "x y&", "l": ["1", "2"]}})
    got = server.got[-1]
    assert parse_qsl(got.body.decode()) == [("a", "x y&"), ("l", "1"), ("l", "2")]
