"""The operations of a description: their names, their arguments, and where each argument goes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.toolsets.openapi.documents import Document
from agents.toolsets.openapi.schemas import Schemas

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
#: Characters of a tool's name that all three providers take.
_NAME_MAX = 64
_DIGEST = 8
#: Characters of an operation's description that a model is told.
_TOLD_MAX = 1_000
#: The argument that is the body of a request.
BODY = "body"
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
#: How arrays are written in Swagger 2.0, by OpenAPI 3's words.
_COLLECTIONS = {
    "multi": ("form", True),
    "ssv": ("spaceDelimited", False),
    "pipes": ("pipeDelimited", False),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operation and its place in a request."""

    name: str
    #: ``path``, ``query``, ``header`` or ``cookie``.
    where: str
    style: str = "form"
    explode: bool = True
    #: The media type of a value that is written as JSON, whatever its style.
    content: str | None = None
    allow_reserved: bool = False


@dataclass(frozen=True, slots=True)
class ServiceOperation:
    """One operation of a service."""

    method: str
    path: str
    name: str
    description: str
    #: The JSON schema of its arguments.
    parameters: dict[str, Any]
    #: By the names that a model uses.
    arguments: Mapping[str, Argument]
    #: The media type of its body; None: it takes none.
    body: str | None = None
    #: Media types of a form's parts, where they are not by their values.
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def route(self) -> str:
        """``GET /repos/{owner}``."""
        return f"{self.method.upper()} {self.path}"


class Routes:
    """Patterns of routes: ``GET /repos/**``; ``*`` is one part of a path, ``**`` any number."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._found = [_route(pattern) for pattern in self.patterns]

    def fits(self, method: str, path: str) -> bool:
        """Return whether one fits."""
        route = f"{method.upper()} {path}"
        return any(pattern.fullmatch(route) for pattern in self._found)


def _route(pattern: str) -> re.Pattern[str]:
    method, _, path = pattern.partition(" ")
    parts = re.split(r"(\*\*|\*)", path)
    made = {"**": ".*", "*": "[^/]*"}
    told = "".join(made.get(part, re.escape(part)) for part in parts)
    return re.compile(f"{'[A-Z]+' if method == '*' else re.escape(method.upper())} {told}")


@dataclass(frozen=True, slots=True)
class _Listed:
    """An operation as it stands in a description."""

    method: str
    path: str
    told: Mapping[str, Any]
    #: Parameters of all operations of its path.
    shared: list[dict[str, Any]]


def operations_of(
    document: Document, *, include: Routes, exclude: Routes, prefix: str = ""
) -> list[ServiceOperation]:
    """The operations whose routes are included, with names that are unique and legal.

    They are legal with the ``prefix`` before them, too, which they do not have yet.
    """
    found: list[ServiceOperation] = []
    taken: set[str] = set()
    for listed in _listed(document):
        route = listed.method, listed.path
        if exclude.fits(*route) or (include.patterns and not include.fits(*route)):
            continue
        name = _name(listed, taken, _NAME_MAX - len(prefix))
        taken.add(name)
        found.append(_operation(document, listed, name))
    return found


def routes_of(document: Document) -> list[tuple[str, str]]:
    """Methods and paths of all operations."""
    return [(listed.method, listed.path) for listed in _listed(document)]


def _listed(document: Document) -> Iterator[_Listed]:
    paths = document.content.get("paths")
    for path, item in paths.items() if isinstance(paths, dict) else ():
        found = document.resolved(item)
        shared = _parameters(document, found)
        for method in METHODS:
            operation = found.get(method)
            if isinstance(operation, dict):
                yield _Listed(method, str(path), operation, shared)


def _parameters(document: Document, node: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = node.get("parameters")
    found = [document.resolved(one) for one in told] if isinstance(told, list) else []
    return [one for one in found if isinstance(one.get("name"), str) and one.get("in")]


def _name(listed: _Listed, taken: set[str], most: int) -> str:
    route = f"{listed.method} {listed.path}"
    told = str(listed.told.get("operationId") or route)
    name = re.sub(r"[^A-Za-z0-9]+", "_", told).strip("_") or listed.method
    if len(name) > most or name in taken:
        digest = hashlib.sha256(route.encode()).hexdigest()[:_DIGEST]
        name = f"{name[: most - _DIGEST - 1]}_{digest}"
    return name


def _operation(document: Document, listed: _Listed, name: str) -> ServiceOperation:
    schemas = Schemas(document)
    inputs = _Inputs(document, schemas)
    told = (*listed.shared, *_parameters(document, listed.told))
    for one in {(p["name"], p["in"]): p for p in told}.values():
        inputs.add(one, listed.told)
    inputs.add_body(listed.told)
    made: dict[str, Any] = {
        "type": "object",
        "properties": inputs.properties,
        "additionalProperties": False,
    }
    if inputs.required:
        made["required"] = inputs.required
    if schemas.defs:
        made["$defs"] = schemas.defs
    words = _words(listed.told, f"{listed.method.upper()} {listed.path}")
    return ServiceOperation(
        listed.method, listed.path, name, words, made, inputs.arguments, inputs.body, inputs.parts
    )


class _Inputs:
    """Gathers the arguments of one operation."""

    def __init__(self, document: Document, schemas: Schemas) -> None:
        self._document, self._schemas = document, schemas
        self.properties: dict[str, Any] = {}
        self.required: list[str] = []
        self.arguments: dict[str, Argument] = {}
        self.body: str | None = None
        self.parts: dict[str, str] = {}
        self._fields: dict[str, Any] = {}

    def add(self, one: Mapping[str, Any], operation: Mapping[str, Any]) -> None:
        """Add a parameter; the body and a form's fields are parameters in Swagger 2.0."""
        given, where = one["name"], one["in"]
        if where == "body":
            self.body = _consumed(self._document, operation, ("application/json",))
            self._put(BODY, self._schemas.of(one.get("schema") or {}), one.get("required"))
        elif where == "formData":
            self._fields[given] = one
        elif where in {"path", "query", "header", "cookie"}:
            key = _key(given, where, self.properties)
            self.arguments[key] = _argument(self._document, one)
            needed = one.get("required") or where == "path"
            self._put(key, _described(self._schemas.of(_schema(one)), one), needed)

    def add_body(self, operation: Mapping[str, Any]) -> None:
        """Add the body, once all parameters are there."""
        if self._fields:
            self.body = _consumed(self._document, operation, _FORMS)
            form = _form(self._schemas, self._fields)
            self._put(BODY, form, form["required"])
        if self._document.is_swagger:
            return
        request = self._document.resolved(operation.get("requestBody"))
        if isinstance(request.get("content"), dict) and request["content"]:
            self.body, schema, self.parts = _body(self._schemas, request)
            self._put(BODY, schema, request.get("required"))

    def _put(self, key: str, schema: dict[str, Any], needed: object) -> None:
        self.properties[key] = schema
        if needed:
            self.required.append(key)


def _key(name: str, where: str, taken: Mapping[str, Any]) -> str:
    """A name that providers take for an argument, and that is no other's."""
    key = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:_NAME_MAX].strip("_") or where
    if key in taken or key == BODY:
        key = f"{key[: _NAME_MAX - 8]}__{where}"
    while key in taken:
        key = f"{key[: _NAME_MAX - 1]}_"
    return key


def _schema(parameter: Mapping[str, Any]) -> Any:
    if isinstance(parameter.get("schema"), dict):
        return parameter["schema"]
    content = parameter.get("content")
    if isinstance(content, dict) and content:
        first = next(iter(content.values()))
        return first.get("schema") if isinstance(first, dict) else {}
    about = {"description", "name", "in", "required", "collectionFormat"}
    return {key: value for key, value in parameter.items() if key not in about}


def _described(schema: dict[str, Any], parameter: Mapping[str, Any]) -> dict[str, Any]:
    words = parameter.get("description")
    if isinstance(words, str) and words and "description" not in schema:
        return {**schema, "description": words[:_TOLD_MAX]}
    return schema


def _argument(document: Document, one: Mapping[str, Any]) -> Argument:
    where = str(one["in"])
    usual = "form" if where in {"query", "cookie"} else "simple"
    if document.is_swagger:
        style, explode = _COLLECTIONS.get(str(one.get("collectionFormat")), (usual, False))
    else:
        style = str(one.get("style") or usual)
        told = one.get("explode")
        explode = told if isinstance(told, bool) else style in {"form", "deepObject"}
    content = one.get("content")
    media = str(next(iter(content))) if isinstance(content, dict) and content else None
    reserved = one.get("allowReserved") is True
    return Argument(str(one["name"]), where, style, explode, media, reserved)


def _consumed(document: Document, operation: Mapping[str, Any], wanted: tuple[str, ...]) -> str:
    told = operation.get("consumes") or document.content.get("consumes") or []
    known = [str(media) for media in told if isinstance(media, str)]
    return next((media for media in wanted if media in known), known[0] if known else wanted[0])


def _form(schemas: Schemas, fields: Mapping[str, Any]) -> dict[str, Any]:
    properties = {name: _described(schemas.of(_schema(one)), one) for name, one in fields.items()}
    needed = [name for name, one in fields.items() if one.get("required")]
    return {"type": "object", "properties": properties, "required": needed}


def _body(
    schemas: Schemas, request: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The media type that is sent, its schema, and the types of its parts."""
    content = request["content"]
    media = next(
        (m for m in content if "json" in m),
        next((m for m in _FORMS if m in content), next(iter(content))),
    )
    told = content[media] if isinstance(content[media], dict) else {}
    schema = schemas.of(told.get("schema") or {})
    if isinstance(words := request.get("description"), str) and "description" not in schema:
        schema = {**schema, "description": words[:_TOLD_MAX]}
    encoding = told.get("encoding")
    parts = {
        str(name): str(one["contentType"])
        for name, one in (encoding.items() if isinstance(encoding, dict) else ())
        if isinstance(one, dict) and one.get("contentType")
    }
    return str(media), schema, parts


def _words(operation: Mapping[str, Any], route: str) -> str:
    told = [operation.get("summary"), operation.get("description")]
    words = list(dict.fromkeys(one.strip() for one in told if isinstance(one, str) and one.strip()))
    text = "\n".join(words)
    return f"{text[:_TOLD_MAX]}\n({route})" if text else route
