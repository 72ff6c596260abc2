"""An app is refused whose door is open."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from api.access import check_routes, permissions
from api.application import create_api
from app.access.permissions import Permission
from app.settings import Settings
from celery_agents.errors import ConfigurationError


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
