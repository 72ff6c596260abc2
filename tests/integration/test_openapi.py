"""Operations of a service with real workers: found, called, and through a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, eventually
from tests.support.recording import Recording, Says

pytestmark = pytest.mark.databases("sqlite")

CONFIG = """
[tools.shop]
kind = "openapi"
spec = "{folder}/shop.json"
server = "{server}"
auth = {{ bearer_env = "SHOP_KEY" }}
prefix = "shop_"

[agents.gpt]
kind = "openai"
model = "m"
base_url = "{model}/v1"
tools = ["shop", "tests.support.agents:kill_once"]
"""
KEY = "a-key-of-the-shop-0123456789"
#: More than are shown at once.
PATHS: dict[str, Any] = {
    f"/things/{n}": {"get": {"operationId": f"thing_{n}", "summary": f"Looks at thing {n}."}}
    for n in range(40)
} | {
    "/refunds": {
        "post": {
            "operationId": "create_refund",
            "summary": "Pays the money of an order back.",
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {"order": {"type": "integer"}},
                            "required": ["order"],
                        }
                    }
                },
            },
        }
    }
}


@pytest.fixture
def shop() -> Iterator[Recording]:
    with Recording() as made:
        yield made


@pytest.fixture
def with_shop(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    model: ModelServer,
    shop: Recording,
) -> Iterator[Stack]:
    """A stack of the test's own, on each database, whose agent has a service's operations."""
    (tmp_path / "shop.json").write_text(json.dumps({"openapi": "3.1.0", "paths": PATHS}))
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG.format(folder=tmp_path, server=shop.url, model=model.url))
    env = FAST | {"AGENTS_CONFIG": str(config), "SHOP_KEY": KEY}
    made = Stack(redis_url, database_url, tmp_path, env)
    yield made
    made.close()


def test_an_operation_is_found_and_called_once_through_a_kill(
    with_shop: Stack, model: ModelServer, shop: Recording, tmp_path: Path
) -> None:
    """What was found before the crash is offered after it, and the model is asked nothing twice."""
    shop.says = [Says(b'{"paid": true}', 201)]
    model.script(
        Does(tool=("search_tools", {"query": "pay the money of an order back", "limit": 1})),
        Does(tool=("shop_create_refund", {"body": {"order": 7}})),
        Does(tool=("kill_once", {"path": str(tmp_path / "killed")})),
        Does(text="It is paid back."),
    )
    worker = with_shop.worker()
    run = with_shop.client.ask("gpt", "Refund order 7.")
    eventually(lambda: not worker.running, "it died")
    with_shop.worker()
    assert run.get(timeout=SOON_S) == "It is paid back."
    offered = [[t["function"]["name"] for t in r.body["tools"]] for r in model.requests]
    first = ["kill_once", "search_tools"]
    assert offered == [first, *[[*first, "shop_create_refund"]] * 3]
    (got,) = shop.got
    assert (got.method, got.target, json.loads(got.body)) == ("POST", "/refunds", {"order": 7})
    assert got.headers["authorization"] == f"Bearer {KEY}"
    assert got.headers["idempotency-key"]
    told = str(model.requests[-1].body)
    assert "paid" in told
    assert KEY not in told
