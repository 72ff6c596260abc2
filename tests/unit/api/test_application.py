"""An app is refused whose door is open."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from fastapi import FastAPI

from api.access import check_routes, methods_of, permissions
from api.application import create_api
from app.access.permissions import Permission
from app.settings import Settings
from celery_agents.errors import ConfigurationError

_SSE = "text/event-stream"


def test_each_route_needs_a_permission_but_those_that_are_named() -> None:
    found = [*permissions(create_api(Settings()))]
    assert len(found) > 20
    assert {p for _, p in found if p is not None} == set(Permission)


def test_a_route_without_a_permission_is_refused() -> None:
    app = FastAPI()
    check_routes(FastAPI(openapi_url=None))
    app.get("/secrets")(lambda: None)
    with pytest.raises(ConfigurationError, match="/secrets"):
        check_routes(app)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_without_keys_on_this_machine_alone(host: str) -> None:
    create_api(Settings(api_auth="none", api_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_without_keys_nowhere_else(host: str) -> None:
    with pytest.raises(ConfigurationError, match="AGENTS_API_AUTH"):
        create_api(Settings(api_auth="none", api_host=host))


@cache
def described() -> dict[str, dict[str, Any]]:
    """What the description has of each path."""
    found: dict[str, dict[str, Any]] = create_api(Settings()).openapi()["paths"]
    return found


def test_each_route_that_takes_a_body_says_that_it_may_be_no_json() -> None:
    told = described()
    found = {
        f"{method.upper()} {path}"
        for path, methods in told.items()
        for method, operation in methods.items()
        if "requestBody" in operation and "400" not in operation["responses"]
    }
    assert found == set()


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/topics/a/dead", {"GET"}),
        ("/topics/a/b", {"GET", "POST"}),
        ("/topics/dead", {"GET", "POST"}),
        ("/subscriptions/a/pause", {"POST"}),
        ("/subscriptions/a/b/resume", {"POST"}),
        ("/subscriptions/pause", {"GET", "DELETE"}),
    ],
)
def test_a_path_of_its_own_is_no_name(path: str, methods: set[str]) -> None:
    """What was told to the topic ``a/dead`` nobody could read: there are the dead ones of ``a``."""
    assert methods_of(create_api(Settings()), path) == methods


def test_events_are_described_as_they_are_read() -> None:
    told = described()
    ends = [
        operation["responses"].get("200", {}).get("content", {})
        for methods in told.values()
        for operation in methods.values()
    ]
    streams = [end[_SSE].get("schema", {}) for end in ends if _SSE in end]
    assert len(streams) >= 3
    assert all(schema.get("type", "object") == "object" for schema in streams)
