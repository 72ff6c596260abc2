from __future__ import annotations

import asyncio

import httpx2
import pytest

from agents.net.clients import SharedClients, http_client, secret_named
from celery_agents.errors import ConfigurationError, MissingKeyError


def test_one_client_for_each_key_and_loop() -> None:
    clients = SharedClients()

    async def scene() -> list[object]:
        first = clients.get("a", object)
        assert clients.get("a", object) is first
        assert clients.get("b", object) is not first
        return [first, clients.take("b")]

    one, taken = asyncio.run(scene())
    other, _ = asyncio.run(scene())
    assert one is not other
    assert taken is not None


def test_a_taken_client_is_made_anew() -> None:
    clients = SharedClients()

    async def scene() -> None:
        assert clients.take("a") is None
        first = clients.get("a", object)
        assert clients.take("a") is first
        assert clients.take("a") is None
        assert clients.get("a", object) is not first

    asyncio.run(scene())


def test_load() -> None:
    clients = SharedClients()
    assert asyncio.run(clients.load("json", extra="x")).dumps([]) == "[]"
    with pytest.raises(ConfigurationError, match=r"pip install 'celery-agents\[openai\]'"):
        asyncio.run(clients.load("no_such_sdk", extra="openai"))


def test_no_redirects_and_no_limit_but_on_connecting() -> None:
    client = http_client(httpx2)
    assert client.follow_redirects is False
    assert client.timeout.read is None
    assert client.timeout.connect is not None


def test_secret_named() -> None:
    secrets = {"A": " value\n", "EMPTY": "  "}
    assert secret_named("A", secrets.get, purpose="the model m") == "value"
    for name in ("EMPTY", "B"):
        with pytest.raises(MissingKeyError, match=f"{name} is not set.*the model m"):
            secret_named(name, secrets.get, purpose="the model m")
