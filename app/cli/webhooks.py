"""``celery -A app agents webhook-secret``: what a receiver of webhooks needs."""

from __future__ import annotations

import click

from agents.net.clients import secret_named
from agents.net.signing import as_secret, keys_of
from celery_agents.client.shell import Command, Shown


@click.command("webhook-secret", cls=Command)
@click.option("--tenant", default="", help="Whose runs it is told of; else nobody's.")
@click.option("--secret", "asked", help="One of AGENTS_WEBHOOK_SECRETS; else the first.")
@click.pass_context
def webhook_secret(ctx: click.Context, tenant: str, asked: str | None) -> Shown:
    """Show the secret by which a receiver checks what it is told: each tenant has its own."""
    settings = ctx.obj.app.agents_settings
    name = settings.webhook_secret(asked)
    keys = keys_of(secret_named(name, settings.secret, purpose="It"), tenant, named=name)
    told = as_secret(keys[0])
    return Shown({"tenant": tenant, "secret": told}, told)
