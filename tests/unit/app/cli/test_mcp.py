"""``celery -A app agents mcp``: the server, and logins at one that asks for them."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import click
import httpx2
import pytest
from click.testing import CliRunner, Result

from agents.threads import in_thread
from agents.toolsets.mcp.loopback import redirect_uri
from app.cli import mcp
from app.governance.logins import JournaledLogins
from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from app.journal.stores.memos import Memos
from app.settings import Settings
from celery_agents.client.cli import agents
from celery_agents.sealing import Seals
from deploy.local.servers import LOOPBACK
from tests.fakes.oauth_server import OAuthServer, standing
from tests.support.fernet import fernet_key

KEY = fernet_key("mcp")


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with standing(LOOPBACK) as home:
        yield home


def app_of(url: str, server: OAuthServer, folder: Path, **more: Any) -> Any:
    """An app as the commands see it, with a toolset whose server asks for a login."""
    config = folder / "agents.toml"
    table = f'kind = "mcp"\nurl = "{server.url}/mcp"\nauth = {{ login = true }}\n'
    config.write_text(f'[tools.crm]\n{table}[tools.plain]\nkind = "plan"\n')
    about = {"database_url": url, "config": config, "private_hosts": [LOOPBACK], **more}
    settings = Settings.model_validate({"fernet_keys": [KEY], **about})
    given = {"agents_settings": settings, "agents_cli": "app.cli.commands:commands"}
    return SimpleNamespace(**given, tasks={}, broker_address=None)


@pytest.fixture
def made(server: OAuthServer, sqlite_journal_url: str, tmp_path: Path) -> Callable[..., Any]:
    """Makes the app of this test's journal."""
    return partial(app_of, sqlite_journal_url, server, tmp_path)


def run(app: Any, *words: str, **given: Any) -> Result:
    return CliRunner().invoke(agents, ["mcp", *words], obj=SimpleNamespace(app=app), **given)


def kept(journal_url: str) -> Any:
    """The login of the toolset, as workers read it."""
    engine = connect(journal_url)
    found = JournaledLogins(lambda: Memos(engine), Seals([KEY]), in_thread)
    login = asyncio.run(found.read("crm"))
    engine.dispose()
    return login


@pytest.fixture
def agrees(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A browser that agrees to all; gives the pages that it was shown."""
    shown: list[str] = []

    def go(url: str) -> None:
        shown.append(url)
        asked = lambda: httpx2.get(url, follow_redirects=True)  # noqa: E731
        threading.Thread(target=asked, daemon=True).start()

    monkeypatch.setattr("webbrowser.open", go)
    return shown


@pytest.mark.parametrize("words", [["--stdio"], ["--http", "127.0.0.1:8765"]])
def test_it_becomes_the_server(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command of an MCP client's configuration is, which knows its pid and its pipes."""
    become = Mock()
    monkeypatch.setattr("os.execv", become)
    app = SimpleNamespace(agents_cli="app.cli.commands:commands")
    assert run(app, *words).exit_code == 0
    become.assert_called_once_with(sys.executable, [sys.executable, "-P", "-m", "api.mcp", *words])


def test_a_person_signs_in_and_out(
    made: Callable[..., Any], sqlite_journal_url: str, agrees: list[str]
) -> None:
    app = made()
    nobody = {"toolset": "crm", "signed_in": False, "renewed": False, "scope": "", "problem": ""}
    [row] = json.loads(run(app, "logins", "--json").stdout)
    assert row == {**nobody, "expires_in_s": None}
    done = run(app, "login", "crm", "--scope", "read")
    assert done.exit_code == 0, done.output
    assert "Signed in at crm, which offers 6 tools." in done.stdout
    [page] = agrees
    assert "scope=read&" in f"{page}&"
    assert page.split("&state=")[0] in done.stderr
    login = kept(sqlite_journal_url)
    assert login["tokens"]["refresh_token"] not in done.output
    assert login["tokens"]["access_token"] not in done.output
    [row] = json.loads(run(app, "logins", "--json").stdout)
    assert (row["signed_in"], row["renewed"], row["scope"]) == (True, True, "read")
    assert run(app, "logout", "crm").exit_code == 0
    assert kept(sqlite_journal_url) is None
    assert run(app, "logout", "crm").exit_code == 1
    engine = connect(sqlite_journal_url)
    acts = [row["action"] for row in AuditLog(engine).newest(9)]
    engine.dispose()
    assert acts[:3] == ["mcp.logout", "mcp.logout", "mcp.login"]


def test_a_login_that_cannot_be_decrypted_hides_no_others(
    made: Callable[..., Any], sqlite_journal_url: str, tmp_path: Path, agrees: list[str]
) -> None:
    app = made()
    with app.agents_settings.config.open("a") as config:
        config.write('[tools.erp]\nkind = "mcp"\nurl = "https://erp"\nauth = { login = true }\n')
    engine = connect(sqlite_journal_url)
    others = JournaledLogins(lambda: Memos(engine), Seals([fernet_key("others")]), in_thread)
    asyncio.run(others.keep("erp", {"tokens": {}}))
    engine.dispose()
    assert run(app, "login", "crm").exit_code == 0
    rows = {row["toolset"]: row for row in json.loads(run(app, "logins", "--json").stdout)}
    assert [rows[name]["signed_in"] for name in ("crm", "erp")] == [True, True]
    assert not rows["crm"]["problem"]
    assert "key" in rows["erp"]["problem"]
    assert "erp" in run(app, "logins").stdout


def test_an_address_is_pasted_where_the_browser_is_elsewhere(
    made: Callable[..., Any], sqlite_journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(mcp, "_tell", shown.append)

    def pasted(_: str) -> str:
        return httpx2.get(shown[-1]).headers["location"]

    monkeypatch.setattr(click, "prompt", pasted)
    done = run(made(), "login", "crm", "--paste", "--port", "4000")
    assert done.exit_code == 0, done.output
    assert kept(sqlite_journal_url)["client"]["redirect_uris"] == [redirect_uri(4000)]


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("crm", {"fernet_keys": []}, "AGENTS_FERNET_KEYS"),
        ("plain", {}, "no [tools.plain] of an MCP server"),
        ("nobody", {}, "no [tools.nobody] of an MCP server"),
    ],
)
def test_who_cannot_sign_in_is_told_so_before(
    made: Callable[..., Any], server: OAuthServer, name: str, more: dict[str, Any], told: str
) -> None:
    done = run(made(**more), "login", name)
    assert done.exit_code != 0
    assert told in done.output
    assert not server.asked


def test_a_person_who_says_no_is_told_in_a_line(
    made: Callable[..., Any], server: OAuthServer, agrees: list[str]
) -> None:
    server.denies = True
    done = run(made(), "login", "crm", "--json")
    assert done.exit_code == 1
    error = json.loads(done.stdout)["error"]
    assert error["message"] == "The authorization server says no: access_denied: not you"
    assert len(agrees) == 1
    assert "Traceback" not in done.output
