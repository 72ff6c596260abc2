"""Descriptions of services: where they come from, and what their references mean."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from pathlib import Path
from typing import Any

from celery_agents.errors import ConfigurationError, redact

#: Bytes of a description that is read; GitHub's has 12 MB.
MOST_BYTES = 64 * 1024 * 1024
#: Seconds in which one has to come over the network.
_FETCH_S = 30.0
#: References that are followed one after the other.
_DEEPEST = 50


class Document:
    """A description of a service, with its references followed within it alone."""

    def __init__(self, content: Any) -> None:
        """Take one that was read.

        Raises:
            ConfigurationError: it is none of OpenAPI 2.0, 3.0 or 3.1.
        """
        version = ""
        if isinstance(content, dict):
            version = str(content.get("openapi") or content.get("swagger") or "")
        if not version.startswith(("2.0", "3.0", "3.1")):
            found = f"its version is {version!r}" if version else "it names no version"
            raise ConfigurationError(f"spec: it is no OpenAPI 2.0, 3.0 or 3.1: {found}.")
        self.content: dict[str, Any] = content
        self.version = version
        self.is_swagger = version.startswith("2")

    def at(self, reference: str) -> Any:
        """The value at a reference within it; an empty one where there is nothing."""
        if not reference.startswith("#/"):
            return {}  # another document: nothing is fetched because a description says so
        found: Any = self.content
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict):
                found = found.get(name, {})
            else:
                return {}
        return found

    def resolved(self, node: Any) -> dict[str, Any]:
        """An object, with the reference that it may be instead followed."""
        for _ in range(_DEEPEST):
            if not isinstance(node, dict):
                return {}
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return node
            node = self.at(reference)
        return {}

    def server(self) -> str | None:
        """The address of the service, by its first server; None where there is no whole one."""
        if self.is_swagger:
            host = self.content.get("host")
            schemes = self.content.get("schemes") or ["https"]
            scheme = "https" if "https" in schemes else schemes[0]
            return f"{scheme}://{host}{self.content.get('basePath') or ''}" if host else None
        servers = self.content.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else {}
        url = str(first.get("url") or "") if isinstance(first, dict) else ""
        for name, variable in (first.get("variables") or {}).items() if url else ():
            url = url.replace("{" + name + "}", str(variable.get("default", "")))
        return url if url.startswith(("http://", "https://")) and "{" not in url else None


def read_document(spec: str, sha256: str | None) -> Document:
    """The description at a path or an https URL.

    One of a URL is kept by its digest (below ``XDG_CACHE_HOME``), so a worker starts without the
    network the next time.

    Raises:
        ConfigurationError: it cannot be had, is another one, or is none.
    """
    raw = _fetched(spec, sha256) if spec.startswith("https://") else _file(spec)
    if sha256 is not None and (found := hashlib.sha256(raw).hexdigest()) != sha256:
        raise ConfigurationError(f"spec: {spec} has the sha256 {found}, not {sha256}.")
    return Document(_parsed(raw, spec))


def _file(spec: str) -> bytes:
    path = Path(spec)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigurationError(f"spec: {spec} has more than {MOST_BYTES:,} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"spec: {spec} cannot be read: {error}") from None


def _fetched(url: str, sha256: str | None) -> bytes:
    if sha256 is None:
        raise ConfigurationError(f'spec: say sha256 = "…" beside {url}: it may change.')
    kept = _kept(sha256)
    if kept.is_file():
        return _file(str(kept))
    try:
        httpx2: Any = importlib.import_module("httpx2")
        with httpx2.stream("GET", url, timeout=_FETCH_S, follow_redirects=True) as response:
            response.raise_for_status()
            raw = b"".join(_bounded(response.iter_bytes(), url))
    except ImportError as error:
        text = f"spec: {error}. Install it with: pip install 'celery-agents[http]'"
        raise ConfigurationError(text) from None
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever HTTP raises: the service is not there
        reason = redact(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"spec: {url} cannot be fetched: {reason}") from None
    if hashlib.sha256(raw).hexdigest() == sha256:
        kept.parent.mkdir(parents=True, exist_ok=True)
        own = kept.with_suffix(f".{os.getpid()}")
        own.write_bytes(raw)
        own.replace(kept)
    return raw


def _bounded(pieces: Any, url: str) -> Any:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MOST_BYTES:
            raise ConfigurationError(f"spec: {url} has more than {MOST_BYTES:,} bytes.")
        yield piece


def _kept(sha256: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "celery-agents" / "specs" / sha256


def _parsed(raw: bytes, spec: str) -> Any:
    if raw.lstrip()[:1] == b"{":
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"spec: {spec} is no JSON: {error}") from None
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError as error:
        text = f"spec: {error}. Install it with: pip install 'celery-agents[tools]'"
        raise ConfigurationError(text) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _jsonable(yaml.load(raw, Loader=loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"spec: {spec} is no YAML: {error}") from None


def _jsonable(value: Any) -> Any:
    """The same as JSON has it: YAML makes dates of texts, and numbers of names."""
    if isinstance(value, dict):
        return {_key(name): _jsonable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _key(name: object) -> str:
    if isinstance(name, bool):
        return "true" if name else "false"
    return str(name)
