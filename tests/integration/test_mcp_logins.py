"""A person's login at an MCP server, used by real workers: renewed once, and asked for by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from agents.threads import in_thread
from app.governance.logins import JournaledLogins
from app.journal.schema.engine import connect
from app.journal.schema.models import Memo
from app.journal.stores.memos import Memos
from celery_agents import Client, names
from celery_agents.errors import AgentsError
from celery_agents.sealing import Seals
from deploy.local.servers import LOOPBACK
from tests.fakes.model_server import Does, ModelServer
from tests.fakes.oauth_server import OAuthServer, standing
from tests.integration.harness import FAST, SOON_S, Location, Stack
from tests.support.fernet import fernet_key
from tests.support.mcp_servers import signed_in

pytestmark = pytest.mark.databases("one")

KEY = fernet_key("logins")
CONFIG = """
[tools.crm]
kind = "mcp"
url = "{server}/mcp"
auth = {{ login = true }}
include = ["add"]
effects = {{ "add" = "idempotent" }}
connect_timeout_s = 60.0

[agents.gpt]
kind = "openai"
model = "m"
base_url = "{model}/v1"
tools = ["crm"]
"""


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with standing(LOOPBACK) as home:
        yield home


@pytest.fixture
def with_crm(
    own_location: Location,
    tmp_path: Path,
    model: ModelServer,
    server: OAuthServer,
) -> Iterator[Stack]:
    """A stack of the test's own, on each database, whose agent has a server's tools."""
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG.format(server=server.url, model=model.url))
    env = {"AGENTS_CONFIG": str(config), "AGENTS_FERNET_KEYS": KEY}
    env |= {"AGENTS_PRIVATE_HOSTS": LOOPBACK}  # where its authorization server is
    made = Stack(*own_location, FAST | env)
    made.client.close()
    made.client = Client(own_location.redis_url, fernet_keys=[KEY])
    yield made
    made.close()


def answered(stack: Stack, model: ModelServer, text: str) -> Any:
    model.script(Does(tool=("add", {"a": 1, "b": 2})), Does(text=text))
    return stack.client.ask("gpt", "Add one and two.").get(timeout=SOON_S)


def test_workers_ask_in_a_persons_name(
    with_crm: Stack, model: ModelServer, server: OAuthServer
) -> None:
    workers = [with_crm.worker() for _ in range(2)]
    with pytest.raises(AgentsError, match=f"{names.COMMAND} mcp login crm"):
        with_crm.client.ask("gpt", "Add one and two.").get(timeout=SOON_S)
    assert not server.asked  # no client was registered
    engine = connect(with_crm.database_url)
    logins = JournaledLogins(lambda: Memos(engine), Seals([KEY]), in_thread)
    asyncio.run(signed_in(f"{server.url}/mcp", "crm", logins.keep))
    for n in range(3):
        assert answered(with_crm, model, f"three {n}") == f"three {n}"
        server.revoke_access()
    assert server.grants == ["authorization_code", "refresh_token", "refresh_token"]
    kept: Any = asyncio.run(logins.read("crm"))
    with engine.connect() as connection:
        memos = repr(connection.execute(select(Memo.__table__)).all())
    engine.dispose()
    written = memos + "".join(worker.logs() for worker in workers)
    for secret in (kept["tokens"]["access_token"], kept["tokens"]["refresh_token"], "cs-secret"):
        assert secret not in written
