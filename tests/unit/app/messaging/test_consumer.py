"""What Celery's consumer cannot take ends no worker, whatever the result store makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.messaging.consumer import Consumer
from celery_agents import names, noted


def _consumer(store: Any) -> Consumer:
    consumer = Consumer.__new__(Consumer)
    consumer.app = SimpleNamespace(backend=SimpleNamespace(mark_as_failure=store))
    return consumer


def _message(**headers: Any) -> Any:
    return SimpleNamespace(headers={"id": "s", "task": "t", **headers}, properties={})


@pytest.mark.parametrize("error", [AttributeError("get"), ConnectionError("away"), KeyError("k")])
def test_an_error_of_the_store_is_noted(error: Exception) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    before = noted.counts().get("tell", 0)
    _consumer(refuse)._tell(_message(), ValueError("bad"))
    assert noted.counts()["tell"] == before + 1


@pytest.mark.parametrize("tenant", [None, "acme"])
def test_the_tenant_of_a_refused_run_is_told(tenant: str | None) -> None:
    told: list[Any] = []
    headers = {} if tenant is None else {names.TENANT: tenant}
    _consumer(lambda *_, request: told.append(request))._tell(_message(**headers), ValueError("x"))
    assert getattr(told[0], names.TENANT) == tenant
