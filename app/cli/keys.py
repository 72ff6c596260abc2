"""``celery -A app agents keys …`` and ``token``: who may use the API. They need no worker."""

from __future__ import annotations

import math
import time
from typing import Any

import click
from sqlalchemy import Engine

from app.access.keys import new_key, successor
from app.access.permissions import Role
from app.cli.opened import journal
from app.journal.stores.keys import ApiKeys
from app.maintenance.acts import record_command
from celery_agents import names
from celery_agents.client.control import who
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.visible import visible

_ALL = "*"
_DAY_S = 86_400.0
_role = click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.USER.value,
    show_default=True,
)
_tenant = click.option(
    "--tenant", default="", help="Whose runs it makes and sees; * for all, else nobody's."
)
_agents = click.option(
    "--agent", "agents", multiple=True, help="A pattern of agents that it may ask; repeat it."
)


@click.group()
def keys() -> None:
    """Keys of the API."""


def _act(ctx: click.Context, engine: Engine, action: str, target: str, **data: Any) -> None:
    record_command(engine, ctx.obj.app.agents_settings, action, target, **data)


@keys.command(cls=Command)
@click.argument("name")
@_role
@_tenant
@_agents
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="It ends after them.")
@click.option("--requests-per-s", type=click.IntRange(min=1), help="Requests of a second.")
@click.option("--runs-per-s", type=click.IntRange(min=1), help="Runs that start in a second.")
@click.pass_context
def create(
    ctx: click.Context,
    /,
    name: str,
    *,
    role: str,
    tenant: str,
    agents: tuple[str, ...],
    days: float | None,
    **limits: int | None,
) -> Shown:
    """Make a key called NAME and show it, this once."""
    grants: dict[str, Any] = {n: most for n, most in limits.items() if most is not None}
    if agents:
        grants["agents"] = list(agents)
    whose = None if tenant == _ALL else tenant
    key, row = new_key(name, Role(role), tenant=whose, by=who(), grants=grants)
    lasts_s = None if days is None else days * _DAY_S
    with journal(ctx) as engine:
        told = {"name": name, "role": role, "tenant": tenant, "expires_s": lasts_s, **grants}
        _act(ctx, engine, "key.create", row["id"], **told)
        ApiKeys(engine).add(row, lasts_s)
    return Shown({"id": row["id"], "key": key}, key)


@keys.command("list", cls=Command)
@click.option("--tenant", help="Only its keys.")
@click.pass_context
def list_keys(ctx: click.Context, tenant: str | None) -> Shown:
    """List keys, the newest first."""
    with journal(ctx) as engine:
        rows = ApiKeys(engine).listed(tenant)
    lines = [visible(_line(row, time.time())) for row in rows]
    none = f"There are no keys. Make one: {names.COMMAND} keys create NAME"
    return Shown(rows, "\n".join(lines) or none)


def _line(row: dict[str, Any], now: float) -> str:
    state = "holds"
    if row["revoked_at"] is not None:
        state = "revoked"
    elif row["expires_at"] is not None:
        left = row["expires_at"] - now
        state = f"{left / _DAY_S:.1f} days left" if left > 0 else "over"
    tenant = _ALL if row["tenant"] is None else row["tenant"] or "-"
    agents = (row["grants"] or {}).get("agents")
    only = f"  asks {', '.join(agents)}" if agents else ""
    return f"{row['id']}  {row['role']:<8}  {tenant:<12} {state:<14} {row['name']}{only}"


@keys.command(cls=Command)
@click.argument("key_id")
@click.pass_context
def revoke(ctx: click.Context, key_id: str) -> Shown:
    """Revoke key KEY_ID: it holds no longer than five more seconds."""
    with journal(ctx) as engine:
        _act(ctx, engine, "key.revoke", key_id)
        if ApiKeys(engine).revoke(key_id) is None:
            raise _unknown(key_id)
    return Shown({"id": key_id}, visible(f"{key_id} is revoked."))


@keys.command(cls=Command)
@click.argument("key_id")
@click.option("--hours", type=click.FloatRange(min=0), default=24.0, show_default=True)
@click.pass_context
def rotate(ctx: click.Context, key_id: str, hours: float) -> Shown:
    """Make a key that may do what KEY_ID may, and show it; KEY_ID ends after so many hours."""
    with journal(ctx) as engine:
        found = ApiKeys(engine)
        old = found.find(key_id)
        if old is None:
            raise _unknown(key_id)
        key, row = successor(old, by=who())
        lasts_s = old["left_s"]
        after_s = min(hours * 3600, math.inf if lasts_s is None else lasts_s)
        _act(ctx, engine, "key.rotate", key_id, replaced_by=row["id"], after_s=after_s)
        if not found.replace(key_id, row, after_s=after_s):
            raise _unknown(key_id)
    return Shown({"id": row["id"], "key": key, "replaces": key_id}, key)


def _unknown(key_id: str) -> NotFoundError:
    return NotFoundError(visible(f"There is no key {key_id} that holds."))


@click.command(cls=Command)
@click.argument("subject")
@_role
@_tenant
@_agents
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=15.0)
@click.pass_context
def token(
    ctx: click.Context,
    subject: str,
    *,
    role: str,
    tenant: str,
    agents: tuple[str, ...],
    minutes: float,
) -> Shown:
    """Sign a token for SUBJECT with the first of AGENTS_JWT_KEYS, and show it."""
    from app.access.tokens import AccessTokens  # PyJWT is of the extra `api`

    claims: dict[str, Any] = {"sub": subject, "role": role, "tenant": tenant}
    if agents:
        claims["agents"] = list(agents)
    signed = AccessTokens(ctx.obj.app.agents_settings).sign(claims, minutes * 60)
    told = {"role": role, "tenant": tenant, "agents": list(agents), "minutes": minutes}
    with journal(ctx) as engine:
        _act(ctx, engine, "token.sign", subject, **told)
    return Shown({"token": signed, "minutes": minutes}, signed)
