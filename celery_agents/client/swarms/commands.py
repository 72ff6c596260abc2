"""``agents swarms``: agents that belong together, from the command line."""

from __future__ import annotations

import click

from celery_agents.client.overview.tables import clock, table, width
from celery_agents.client.shell import (
    Command,
    NotFoundError,
    Opening,
    Shown,
    name_argument,
    tenant_option,
)
from celery_agents.contracts.teams.swarm import SwarmStatus
from celery_agents.visible import visible


def swarms_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("swarms", help="Agents that belong together.")
    for make in (_list_command, _members_command, _status_command):
        group.add_command(make(opening))
    return group


def _list_command(opening: Opening) -> click.Command:
    @click.command("list", cls=Command)
    @click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
    @tenant_option
    @click.pass_context
    def listing(ctx: click.Context, limit: int, tenant: str) -> Shown:
        """List swarms in the order of their names."""
        with opening(ctx) as client:
            found = client.swarm.list(tenant=tenant, limit=limit)
        rows = [(visible(one.name), f"{one.entries:,}", clock(one.last_at)) for one in found]
        head = ("swarm", "entries", "last")
        lines = table(head, rows, within=width()) if rows else ["There are no swarms."]
        return Shown([one.model_dump(mode="json") for one in found], "\n".join(lines))

    return listing


def _members_command(opening: Opening) -> click.Command:
    @click.command("members", cls=Command)
    @name_argument
    @tenant_option
    @click.pass_context
    def members(ctx: click.Context, name: str, tenant: str) -> Shown:
        """Show the members of swarm NAME, in the order in which they joined, and their agents."""
        found = _found(opening, ctx, name, tenant)
        told = {"name": found.name, "members": found.members}
        return Shown(told, "\n".join(_members(found)))

    return members


def _status_command(opening: Opening) -> click.Command:
    @click.command("status", cls=Command)
    @name_argument
    @tenant_option
    @click.pass_context
    def status(ctx: click.Context, name: str, tenant: str) -> Shown:
        """Show who is in swarm NAME, and how far the work is that it has."""
        found = _found(opening, ctx, name, tenant)
        rows = [
            (one.run_id, one.state, *(f"{n:,}" for n in (one.units, one.succeeded, one.failed)))
            for one in found.work
        ]
        head = ("work", "state", "units", "succeeded", "failed")
        work = table(head, rows, within=width()) if rows else ["It has no work."]
        return Shown(found.model_dump(mode="json"), "\n".join([*_members(found), "", *work]))

    return status


def _found(opening: Opening, ctx: click.Context, name: str, tenant: str) -> SwarmStatus:
    with opening(ctx) as client:
        found: SwarmStatus | None = client.swarm.status(name, tenant=tenant)
    if found is None:
        raise NotFoundError(visible(f"There is no swarm {name}."))
    return found


def _members(found: SwarmStatus) -> list[str]:
    rows = [(visible(name), visible(agent)) for name, agent in found.members.items()]
    return table(("member", "agent"), rows, within=width()) if rows else ["It has no members."]
