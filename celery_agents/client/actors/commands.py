"""``agents actors``: objects of a key whose state lasts, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from celery_agents.client.overview.tables import clock, table, width
from celery_agents.client.shell import Command, Opening, Shown, tenant_option
from celery_agents.visible import visible, visible_json

_id = click.option("--id", "id", help="Sent again under it, the message is the same.")
_actor, _key = click.argument("actor"), click.argument("key")
_method = click.argument("method")
_args = click.argument("args", nargs=-1)


def _message(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what a message is made of."""
    for part in (
        tenant_option,
        _id,
        _args,
        _method,
        _key,
        _actor,
    ):  # the last one is asked for first
        command = part(command)
    return command


def actors_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("actors", help="Objects of a key, whose state lasts.")
    for make in (_list_command, _tell_command, _ask_command, _state_command, _dead_command):
        group.add_command(make(opening))
    return group


def _list_command(opening: Opening) -> click.Command:
    @click.command("list", cls=Command)
    @click.argument("actor", required=False)
    @click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
    @tenant_option
    @click.pass_context
    def listing(ctx: click.Context, actor: str | None, limit: int, tenant: str) -> Shown:
        """List actors, the newest first, of one name or all."""
        with opening(ctx) as client:
            found = client.actors.list(actor, tenant=tenant, limit=limit)
        rows = [
            (visible(one.actor), visible(one.key), one.state, f"{one.unread:,}", one.run_id)
            for one in found
        ]
        head = ("actor", "key", "state", "unread", "run")
        lines = table(head, rows, within=width()) if rows else ["There are no actors."]
        return Shown([one.model_dump(mode="json") for one in found], "\n".join(lines))

    return listing


def _tell_command(opening: Opening) -> click.Command:
    @click.command("tell", cls=Command)
    @_message
    @click.pass_context
    def tell(ctx: click.Context, /, actor: str, key: str, **about: Any) -> Shown:
        """Put a message into the mailbox of ACTOR's KEY; ARGS are JSON, or else texts."""
        method, args = about.pop("method"), map(_read, about.pop("args"))
        with opening(ctx) as client:
            found = client.actors.tell(actor, key, method, *args, **about)
        return Shown({"id": found}, visible(found))

    return tell


def _ask_command(opening: Opening) -> click.Command:
    @click.command("ask", cls=Command)
    @_message
    @click.option("--timeout", type=float, default=60.0, show_default=True)
    @click.pass_context
    def ask(ctx: click.Context, /, actor: str, key: str, **about: Any) -> Shown:
        """Ask ACTOR's KEY, and show what METHOD returns; ARGS are JSON, or else texts."""
        method, args = about.pop("method"), map(_read, about.pop("args"))
        with opening(ctx) as client:
            found = client.actors.ask(actor, key, method, *args, **about)
        return Shown({"value": found}, visible_json(found))

    return ask


def _state_command(opening: Opening) -> click.Command:
    @click.command("state", cls=Command)
    @_actor
    @_key
    @tenant_option
    @click.pass_context
    def state(ctx: click.Context, actor: str, key: str, tenant: str) -> Shown:
        """Show what ACTOR's KEY keeps, as it was committed last."""
        with opening(ctx) as client:
            found = client.actors.state(actor, key, tenant=tenant)
        if found is None:
            raise click.ClickException(f"There is no {actor}/{key}.")
        return Shown(found.model_dump(mode="json"), visible_json(found.value, indent=2))

    return state


def _dead_command(opening: Opening) -> click.Command:
    @click.command("dead", cls=Command)
    @_actor
    @_key
    @tenant_option
    @click.pass_context
    def dead(ctx: click.Context, actor: str, key: str, tenant: str) -> Any:
        """Show messages that ACTOR's KEY refused, or could not tell others, and why."""
        with opening(ctx) as client:
            for one in client.actors.dead(actor, key, tenant=tenant):
                why = one["error"]["message"]
                text = f"{clock(one['at'])}  {one['id']}  {one['method']}  {why}"
                yield Shown(one, visible(text))

    return dead


def _read(text: str) -> Any:
    """An argument: JSON where it is some, else the words themselves."""
    try:
        return json.loads(text)
    except ValueError:
        return text
