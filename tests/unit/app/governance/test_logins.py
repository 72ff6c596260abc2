"""Logins at MCP servers in the journal: encrypted, and renewed by one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from agents.threads import in_thread
from app.governance.logins import JournaledLogins
from app.journal.schema.engine import connect
from app.journal.schema.models import Memo
from app.journal.stores.encryption import Encryption
from app.journal.stores.memos import Memos
from celery_agents.errors import ConfigurationError, JournalUnavailableError, UnreadableValueError
from celery_agents.sealing import Seals
from deploy.local.servers import LOOPBACK
from tests.fakes.oauth_server import OAuthServer, standing
from tests.support.fernet import fernet_key
from tests.support.mcp_servers import call, names, on_loop, signed_in, toolset

OLD, NEW = Seals([fernet_key("old")]), Seals([fernet_key("new"), fernet_key("old")])
PROCESSES = 4


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with standing(LOOPBACK) as home:
        yield home


@pytest.fixture
def processes(journal_url: str) -> Iterator[list[JournaledLogins]]:
    """The logins of some processes, each with a connection of its own."""
    with contextlib.ExitStack() as stack:
        engines = [connect(journal_url) for _ in range(PROCESSES)]
        for engine in engines:
            stack.callback(engine.dispose)
        yield [JournaledLogins(lambda e=engine: Memos(e), OLD, in_thread) for engine in engines]  # type: ignore[misc]


def rows(journal_url: str) -> str:
    """All memos, as they stand in the journal."""
    engine = connect(journal_url)
    with engine.connect() as c:
        found = repr(c.execute(select(Memo.__table__)).all())
    engine.dispose()
    return found


@on_loop
async def _renewed_at_once(server: OAuthServer, processes: list[JournaledLogins]) -> None:
    await signed_in(f"{server.url}/mcp", "desk", processes[0].keep)
    desks = [
        toolset(url=f"{server.url}/mcp", logins=one, auth={"login": True}) for one in processes
    ]
    await asyncio.gather(*(names(desk) for desk in desks))
    for _ in range(2):
        server.revoke_access()
        made = await asyncio.gather(*(call(desk, "add", a=1, b=1) for desk in desks))
        assert made == [{"result": 2}] * PROCESSES
    for desk in desks:
        await desk.aclose()


def test_processes_that_renew_at_once_use_each_refresh_token_once(
    server: OAuthServer, processes: list[JournaledLogins], journal_url: str
) -> None:
    _renewed_at_once(server, processes)
    assert server.grants == ["authorization_code", "refresh_token", "refresh_token"]
    told = rows(journal_url)
    assert "login/desk" in told
    for secret in ("at-", "rt-", "cs-secret", "refresh_token", server.url):
        assert secret not in told


@on_loop
async def _kept(processes: list[JournaledLogins]) -> None:
    first, second, *_ = processes
    assert await first.read("desk") is None
    await first.keep("desk", {"url": "there"})
    assert await second.read("desk") == {"url": "there"}
    assert await second.read("other") is None
    assert await second.forget("desk")
    assert not await second.forget("desk")
    assert await first.read("desk") is None


def test_a_login_is_kept_and_forgotten(processes: list[JournaledLogins]) -> None:
    _kept(processes)


@on_loop
async def _put_while_it_is_renewed(processes: list[JournaledLogins]) -> None:
    worker, command, *_ = processes
    await worker.keep("desk", {"n": 1})
    async with worker.renewing("desk"):
        putting = asyncio.create_task(command.put("desk", {"n": 3}))
        await asyncio.wait([putting], timeout=0.3)
        await worker.keep("desk", {"n": 2})
    await putting
    assert await worker.read("desk") == {"n": 3}
    async with worker.renewing("desk"):
        forgetting = asyncio.create_task(command.forget("desk"))
        await asyncio.wait([forgetting], timeout=0.3)
        await worker.keep("desk", {"n": 4})
    assert await forgetting
    assert await worker.read("desk") is None


def test_a_renewal_brings_no_login_back(processes: list[JournaledLogins]) -> None:
    _put_while_it_is_renewed(processes)


def test_a_renewed_login_is_kept_when_the_journal_is_back(
    processes: list[JournaledLogins], journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.governance.logins._AGAIN_S", (0.0, 0.0))
    engine = connect(journal_url)
    memos = Memos(engine)
    away = [JournalUnavailableError("away")] * 2

    def change(key: str, revise: Any) -> Any:
        if away:
            raise away.pop()
        return Memos.change(memos, key, revise)

    monkeypatch.setattr(memos, "change", change)
    asyncio.run(JournaledLogins(lambda: memos, OLD, in_thread).keep("desk", {"n": 1}))
    assert asyncio.run(processes[0].read("desk")) == {"n": 1}
    away += [JournalUnavailableError("away")] * 3
    with pytest.raises(JournalUnavailableError):
        asyncio.run(JournaledLogins(lambda: memos, OLD, in_thread).keep("desk", {"n": 2}))
    engine.dispose()


def test_a_login_needs_its_key(processes: list[JournaledLogins], journal_url: str) -> None:
    engine = connect(journal_url)
    without = JournaledLogins(lambda: Memos(engine), None, in_thread)
    with pytest.raises(ConfigurationError, match="AGENTS_FERNET_KEYS"):
        without.check()
    with pytest.raises(ConfigurationError, match="AGENTS_FERNET_KEYS"):
        asyncio.run(without.keep("desk", {}))
    asyncio.run(processes[0].keep("desk", {"url": "there"}))
    with pytest.raises(UnreadableValueError, match="AGENTS_FERNET_KEYS"):
        asyncio.run(without.read("desk"))
    engine.dispose()


def test_a_login_is_encrypted_with_a_newer_key(
    processes: list[JournaledLogins], journal_url: str
) -> None:
    asyncio.run(processes[0].keep("desk", {"url": "there"}))
    engine = connect(journal_url, seals=NEW)
    assert Encryption(engine).rotate()[0] == 1
    newest = Seals([fernet_key("new")])
    read = JournaledLogins(lambda: Memos(engine), newest, in_thread).read("desk")
    assert asyncio.run(read) == {"url": "there"}
    engine.dispose()


def test_a_login_that_was_moved_is_none(processes: list[JournaledLogins], journal_url: str) -> None:
    engine = connect(journal_url)
    memos = Memos(engine)
    asyncio.run(processes[0].keep("desk", {"url": "there"}))
    moved = memos.read("login/desk")
    memos.change("login/other", lambda _: moved)
    with pytest.raises(UnreadableValueError, match="does not belong"):
        asyncio.run(processes[0].read("other"))
    engine.dispose()
