"""A call's arguments as an HTTP request: styles of parameters (OpenAPI 3.1, 4.8.12) and bodies."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote

from agents.tools.calls import ToolError
from agents.toolsets.openapi.operations import BODY, Argument, ServiceOperation

#: RFC 3986's reserved characters, which ``allowReserved`` lets stand.
_RESERVED = ":/?#[]@!$&'()*+,;="
_DELIMITERS = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}
_MULTIPART, _URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"


@dataclass(slots=True)
class ServiceRequest:
    """A request without its server."""

    method: str
    path: str
    query: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    #: httpx2's arguments for the body.
    body: dict[str, Any] = field(default_factory=dict)

    def url(self, server: str) -> str:
        """The address at a server."""
        query = "&".join(self.query)
        return f"{server.rstrip('/')}{self.path}{'?' + query if query else ''}"


def prepare(operation: ServiceOperation, arguments: Mapping[str, Any]) -> ServiceRequest:
    """The request of a call whose arguments fit the operation's schema.

    Raises:
        ToolError: a value cannot stand where it belongs.
    """
    made = ServiceRequest(operation.method.upper(), operation.path)
    for key, argument in operation.arguments.items():
        if key not in arguments:
            continue
        value = arguments[key]
        if argument.where == "path":
            made.path = made.path.replace("{" + argument.name + "}", _in_path(argument, value))
        elif argument.where == "query":
            made.query += _in_query(argument, value)
        elif argument.where == "header":
            made.headers[argument.name] = _in_header(argument, value)
        else:
            made.cookies += _in_query(argument, value)
    if operation.body is not None and BODY in arguments:
        made.body, headers = _body(operation, arguments[BODY])
        made.headers |= headers
    return made


def _in_path(argument: Argument, value: Any) -> str:
    text = _simple(argument, value, lambda one: quote(one, safe=""))
    if text in {"", ".", ".."}:
        raise ToolError(f"{argument.name}: {value!r} cannot stand in a path.")
    return text


def _in_header(argument: Argument, value: Any) -> str:
    text = _simple(argument, value, str)
    if any(ord(c) < 32 or ord(c) == 127 for c in text) or not text.isascii():  # noqa: PLR2004 - ASCII
        raise ToolError(f"{argument.name}: a header is of visible ASCII characters.")
    return text


def _simple(argument: Argument, value: Any, safe: Any) -> str:
    """A value in the styles ``simple``, ``label`` and ``matrix``."""
    if argument.content is not None:
        return str(safe(_json(value)))
    between = {"simple": ",", "label": ".", "matrix": ";"}.get(argument.style, ",")
    name = quote(argument.name, safe="")
    joined = between if argument.explode else ","
    if isinstance(value, dict):
        pairs = [(safe(str(k)), safe(_text(v))) for k, v in value.items()]
        told = [f"{k}={v}" for k, v in pairs] if argument.explode else [x for p in pairs for x in p]
        named = argument.style == "matrix" and not argument.explode
    elif isinstance(value, list):
        told = [str(safe(_text(one))) for one in value]
        named = argument.style == "matrix"
        if named and argument.explode:
            return "".join(f";{name}={one}" for one in told)
    else:
        told, named = [str(safe(_text(value)))], argument.style == "matrix"
    text = _joined(argument, joined, told) if isinstance(value, dict | list) else told[0]
    start = {"label": ".", "matrix": ";"}.get(argument.style, "")
    return f"{start}{name}={text}" if named else f"{start}{text}"


def _in_query(argument: Argument, value: Any) -> list[str]:
    """``name=value`` in the styles of queries; several of a list or an object that is exploded."""
    safe = _RESERVED if argument.allow_reserved else ""
    name = quote(argument.name, safe="")

    def written(one: Any) -> str:
        return quote(_text(one), safe=safe)

    if argument.content is not None:
        return [f"{name}={quote(_json(value), safe=safe)}"]
    between = _DELIMITERS.get(argument.style, ",")
    if isinstance(value, dict):
        return _object_in_query(argument, value, written)
    if isinstance(value, list):
        told = [written(one) for one in value]
        each = argument.explode and argument.style == "form"
        return [f"{name}={one}" for one in (told if each else [_joined(argument, between, told)])]
    return [f"{name}={written(value)}"]


def _object_in_query(argument: Argument, value: dict[str, Any], written: Any) -> list[str]:
    if argument.style == "deepObject":
        return list(_deep(argument.name, value, written))
    pairs = [(quote(str(k), safe=""), written(v)) for k, v in value.items()]
    if argument.explode:
        return [f"{k}={v}" for k, v in pairs]
    between = _DELIMITERS.get(argument.style, ",")
    return [f"{quote(argument.name, safe='')}={_joined(argument, between, [*chain(*pairs)])}"]


def _joined(argument: Argument, between: str, told: list[str]) -> str:
    """Values of a style that has no escape for what stands between them.

    Raises:
        ToolError: one of them has that in it, and would be read as two.
    """
    if any(between in one for one in told):
        what = f"{unquote(between)!r}, which stands between values in the style {argument.style}"
        raise ToolError(f"{argument.name}: no value can have {what}.")
    return between.join(told)


def _deep(name: str, value: Any, written: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _deep(f"{name}[{key}]", inner, written)
    elif isinstance(value, list):
        for inner in value:
            yield f"{quote(name, safe='')}={written(inner)}"
    else:
        yield f"{quote(name, safe='')}={written(value)}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return _json(value)
    return str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _body(operation: ServiceOperation, value: Any) -> tuple[dict[str, Any], dict[str, str]]:
    media = operation.body or ""
    if media == _MULTIPART:
        if not isinstance(value, dict):
            raise ToolError("body: a form is an object of its fields.")
        files = [part for name, one in value.items() for part in _parts(operation, name, one)]
        return {"files": files}, {}
    headers = {"Content-Type": media}
    if media == _URLENCODED:
        if not isinstance(value, dict):
            raise ToolError("body: a form is an object of its fields.")
        pairs = [
            pair for name, one in value.items() for pair in _in_query(Argument(name, "query"), one)
        ]
        return {"content": "&".join(pairs).encode()}, headers
    if "json" in media or not isinstance(value, str):
        return {"content": _json(value).encode(errors="replace")}, headers
    return {"content": _raw(value, media)}, headers


def _parts(operation: ServiceOperation, name: str, value: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """A field of a form in parts; bytes come as base64, since JSON has none."""
    if isinstance(value, list) and name not in operation.parts:
        return [part for one in value for part in _parts(operation, name, one)]
    schema = operation.parameters["properties"][BODY].get("properties", {}).get(name, {})
    if isinstance(schema, dict) and schema.get("format") in {"binary", "byte"}:
        media = operation.parts.get(name, "application/octet-stream").split(",")[0]
        return [(name, (name, _raw(_text(value), media), media))]
    if isinstance(value, dict | list) or name in operation.parts:
        media = operation.parts.get(name, "application/json").split(",")[0]
        return [(name, (None, _text(value).encode(), media))]
    return [(name, (None, _text(value).encode()))]


def _raw(value: str, media: str) -> bytes:
    if media.startswith("text/") or media.endswith(("+xml", "/xml", "yaml")):
        return value.encode(errors="replace")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value.encode(errors="replace")
