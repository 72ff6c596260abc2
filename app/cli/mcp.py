"""``celery -A app agents mcp …``: serve the Model Context Protocol, and sign in at its servers."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import webbrowser
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click

from agents.catalog.toolsets import read_tools_entry, read_toolsets
from agents.threads import in_thread
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.mcp.logins import Login, Logins, UserAgent
from agents.toolsets.mcp.loopback import agreed, listening, redirect_uri
from app.cli.opened import journal, logins_of
from app.cli.tools import resources_of, tables_of
from app.governance.logins import JournaledLogins
from app.layout import qualified
from app.maintenance.acts import record_command
from celery_agents.client.overview.tables import room, table
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.errors import UnreadableValueError
from celery_agents.visible import visible

#: Seconds for a person to sign in.
_PERSON_S = 900.0


@click.group(invoke_without_command=True)
@click.option("--stdio", is_flag=True, help="Standard input and output, for AGENTS_MCP_KEY.")
@click.option("--http", "address", metavar="HOST:PORT", help="Serve /mcp on this address.")
@click.pass_context
def mcp(ctx: click.Context, *, stdio: bool, address: str | None) -> None:
    """Serve agents and panels as tools by MCP, and runs as its tasks; or sign in at a server."""
    if ctx.invoked_subcommand is not None:
        return
    if stdio == (address is not None):
        raise click.UsageError("Say one of --stdio and --http HOST:PORT.")
    how = ["--stdio"] if address is None else ["--http", address]
    # A process of its own, as the API's: the command line's has read the agents' modules.
    os.execv(sys.executable, [sys.executable, "-P", "-m", qualified("api.mcp"), *how])  # noqa: S606 - no shell is wanted


class _Anew(Logins):
    """Logins of a person who signs in now, whatever there was; the journal's then."""

    def __init__(self, person: UserAgent, kept: JournaledLogins) -> None:
        super().__init__(person)
        self._journaled = kept

    async def keep(self, name: str, login: Login) -> None:
        await super().keep(name, login)
        await self._journaled.put(name, login)


class _Pasting:
    """A person whose browser is elsewhere: they paste the address that it was sent to."""

    def __init__(self, port: int) -> None:
        self.redirect_uri = redirect_uri(port)

    async def sign_in(self, url: str) -> Mapping[str, str]:
        _tell(url)
        told = "The browser ends at an address that it cannot open. Paste it here"
        pasted = await in_thread(click.prompt, told)
        return agreed(dict(parse_qsl(urlsplit(pasted.strip()).query)))


@mcp.command(cls=Command)
@click.argument("toolset")
@click.option("--scope", help="Ask for these scopes, in place of the configuration's.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="To come back to.")
@click.option("--paste", is_flag=True, help="The browser runs on another machine.")
@click.option("--no-browser", is_flag=True, help="Show the address, and open none.")
@click.pass_context
def login(ctx: click.Context, /, toolset: str, **how: Any) -> Shown:
    """Sign in at the server of TOOLSET, for all workers. It needs no worker."""
    settings = ctx.obj.app.agents_settings
    config, told = _table(ctx, toolset)
    auth = {**told["auth"], **({"scope": how["scope"]} if how["scope"] else {})}
    # A server's pins and patterns are of what it lists, which is asked for to be let in alone.
    told = {name: value for name, value in told.items() if name not in {"pin", "approve"}}
    told |= {"auth": auth, "connect_timeout_s": _PERSON_S}

    async def act(kept: JournaledLogins) -> tuple[int, Login | None]:
        async with _person(how) as person:
            logins = _Anew(person, kept)
            resources = resources_of(settings, logins)
            found = read_toolsets(config, {toolset: told}, resources)[toolset]
            step: Any = None
            try:
                return len(await found.specs(step)), await logins.read(toolset)
            finally:
                await found.aclose()

    kept = logins_of(settings)
    kept.check()
    with journal(ctx) as engine:
        record_command(engine, settings, "mcp.login", toolset)
    tools, done = asyncio.run(act(kept))
    if done is None:
        raise click.ClickException(visible(f"The server of {toolset} asks nobody to sign in."))
    shown = {"toolset": toolset, "tools": tools, **_about(done)}
    return Shown(shown, visible(f"Signed in at {toolset}, which offers {tools} tools."))


@mcp.command(cls=Command)
@click.argument("toolset")
@click.pass_context
def logout(ctx: click.Context, toolset: str) -> Shown:
    """Forget the login of TOOLSET here; its server is not told."""
    settings = ctx.obj.app.agents_settings
    with journal(ctx) as engine:
        record_command(engine, settings, "mcp.logout", toolset)
    there = asyncio.run(logins_of(settings).forget(toolset))
    if not there:
        raise NotFoundError(visible(f"Nobody has signed in at {toolset}."))
    return Shown({"toolset": toolset}, visible(f"The login of {toolset} is gone."))


@mcp.command(cls=Command)
@click.pass_context
def logins(ctx: click.Context) -> Shown:
    """List the toolsets for which a person signs in, and whether somebody has."""
    settings = ctx.obj.app.agents_settings
    kept = logins_of(settings)
    names = [name for name, entry in _entries(ctx).items() if entry.auth.login]

    async def read(name: str) -> dict[str, Any]:
        """Tell of one, without the others' sake: what cannot be decrypted here may be elsewhere."""
        try:
            found = await kept.read(name)
        except UnreadableValueError as error:
            told = {"signed_in": True, **_about(None), "problem": error.message}
        else:
            told = {"signed_in": found is not None, **_about(found), "problem": ""}
        return {"toolset": name, **told}

    async def read_all() -> list[dict[str, Any]]:
        return [await read(name) for name in names]

    rows = asyncio.run(read_all())
    head = ("toolset", "signed_in", "renewed", "expires_in_s", "scope", "problem")
    lines = table(head, [tuple(str(row[name]) for name in head) for row in rows], within=room())
    return Shown(rows, "\n".join(lines) if rows else "No toolset wants anybody to sign in.")


def _about(login: Login | None) -> dict[str, Any]:
    """Facts of a login that may be told."""
    tokens: Mapping[str, Any] = (login or {}).get("tokens", {})
    ends = (login or {}).get("expires_at")
    return {
        "renewed": "refresh_token" in tokens,
        "expires_in_s": None if ends is None else round(ends - time.time()),
        "scope": tokens.get("scope", ""),
    }


@asynccontextmanager
async def _person(how: Mapping[str, Any]) -> AsyncIterator[UserAgent]:
    if how["paste"]:
        yield _Pasting(how["port"] or 8000)
        return
    show = _tell if how["no_browser"] else _open
    async with listening(how["port"], show) as person:
        yield person


def _tell(url: str) -> None:
    click.echo(f"Open this address in a browser, and sign in:\n\n  {visible(url)}\n", err=True)


def _open(url: str) -> None:
    _tell(url)
    webbrowser.open(url)


def _entries(ctx: click.Context) -> dict[str, McpTools]:
    config = ctx.obj.app.agents_settings.config
    tables = {} if config is None else tables_of(config)
    found = {name: read_tools_entry(config, name, told) for name, told in tables.items()}
    return {name: entry for name, entry in found.items() if isinstance(entry, McpTools)}


def _table(ctx: click.Context, toolset: str) -> tuple[Path, dict[str, Any]]:
    """The configuration, and the table of a toolset for which a person signs in."""
    entry = _entries(ctx).get(toolset)
    if entry is None:
        raise NotFoundError(visible(f"There is no [tools.{toolset}] of an MCP server."))
    if not entry.auth.login:
        raise click.UsageError(visible(f"[tools.{toolset}] says no auth = {{ login = true }}."))
    config: Path = ctx.obj.app.agents_settings.config
    return config, tables_of(config)[toolset]
