"""``agents schedules``: schedules from the command line."""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from celery_agents.client.overview.tables import clock, table, width
from celery_agents.client.shell import (
    Command,
    NotFoundError,
    Opening,
    Shown,
    moment,
    name_argument,
    tenant_option,
)
from celery_agents.contracts.flows.schedules import CatchUp, Overlap, ScheduleInfo
from celery_agents.visible import visible


def schedules_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("schedules", help="Runs that start by the calendar, or at intervals.")
    makers = (_list_command, _show_command, _put_command, _trigger_command, _delete_command)
    for make in makers:
        group.add_command(make(opening))
    group.add_command(_switch_command(opening, "pause", "Let NAME start nothing.", "is paused"))
    group.add_command(_switch_command(opening, "resume", "Let NAME go on.", "goes on"))
    return group


def _list_command(opening: Opening) -> click.Command:
    @click.command("list", cls=Command)
    @tenant_option
    @click.pass_context
    def listing(ctx: click.Context, tenant: str) -> Shown:
        """List schedules with their next slots."""
        with opening(ctx) as client:
            found = client.schedules.list(tenant=tenant)
        rows = [(one.name, _when(one), _next(one), _what(one), one.error or "") for one in found]
        head = ("name", "when", "next", "starts", "error")
        lines = table(head, rows, within=width()) if rows else ["There are no schedules."]
        return Shown([one.model_dump(mode="json") for one in found], "\n".join(lines))

    return listing


def _show_command(opening: Opening) -> click.Command:
    @click.command("show", cls=Command)
    @name_argument
    @tenant_option
    @click.pass_context
    def show(ctx: click.Context, name: str, tenant: str) -> Shown:
        """Show schedule NAME with its last runs; exit 1 when there is none."""
        with opening(ctx) as client:
            found = client.schedules.get(name, tenant=tenant)
        if found is None:
            raise NotFoundError(visible(f"There is no schedule {name}."))
        lines = [
            f"{found.name}  {_when(found)}  starts {_what(found)}",
            f"next {_next(found)}, {len(found.queued):,} wait, {found.skipped:,} left out",
            *([f"it starts nothing: {found.error}"] if found.error else []),
            *(f"{clock(run.at)}  {run.run_id}" for run in found.runs),
        ]
        return Shown(found.model_dump(mode="json"), "\n".join(map(visible, lines)))

    return show


def _put_command(opening: Opening) -> click.Command:
    @click.command("put", cls=Command)
    @name_argument
    @click.argument("input_", metavar="[INPUT]", required=False)
    @click.option("--flow", help="The flow that is started on INPUT.")
    @click.option("--agent", help="The agent that is asked INPUT.")
    @click.option("--cron", help="Minute, hour, day of the month, month, day of the week.")
    @click.option("--tz", default="UTC", show_default=True, help="The time zone of --cron, --at.")
    @click.option("--every", "every_s", type=float, help="Seconds from one to the next.")
    @click.option("--at", metavar="TIME", help="Its one time, as 2026-11-30T09:00.")
    @click.option("--overlap", type=click.Choice(get_args(Overlap)), default="skip")
    @click.option("--catchup", type=click.Choice(get_args(CatchUp)), default="latest")
    @tenant_option
    @click.pass_context
    def put(
        ctx: click.Context,
        /,
        name: str,
        input_: str | None,
        flow: str | None,
        agent: str | None,
        **rule: Any,
    ) -> Shown:
        """Make schedule NAME, or change it. INPUT is JSON, or else a text."""
        if (flow is None) == (agent is None):
            raise click.UsageError("One of --flow and --agent is needed.")
        rule["at"] = moment(rule["at"])
        with opening(ctx) as client:
            value = _input(input_)
            run = client.start.s(flow, value) if agent is None else client.ask.s(agent, value)
            found = client.schedules.put(name, run, **rule)
        return Shown(found.model_dump(mode="json"), visible(f"{name}: next {_next(found)}"))

    return put


def _switch_command(opening: Opening, verb: str, told: str, done: str) -> click.Command:
    @click.command(verb, cls=Command, help=told)
    @name_argument
    @tenant_option
    @click.pass_context
    def switch(ctx: click.Context, name: str, tenant: str) -> Shown:
        with opening(ctx) as client:
            getattr(client.schedules, verb)(name, tenant=tenant)
        return Shown({"name": name}, visible(f"{name} {done}."))

    return switch


def _trigger_command(opening: Opening) -> click.Command:
    @click.command("trigger", cls=Command)
    @name_argument
    @tenant_option
    @click.pass_context
    def trigger(ctx: click.Context, name: str, tenant: str) -> Shown:
        """Start a run of NAME now; its slots stay as they are."""
        with opening(ctx) as client:
            run = client.schedules.trigger(name, tenant=tenant)
        return Shown({"name": name, "id": run.id}, run.id)

    return trigger


def _delete_command(opening: Opening) -> click.Command:
    @click.command("delete", cls=Command)
    @name_argument
    @tenant_option
    @click.pass_context
    def delete(ctx: click.Context, name: str, tenant: str) -> Shown:
        """Delete schedule NAME; its runs stay. Exit 1 when there is none."""
        with opening(ctx) as client:
            if not client.schedules.delete(name, tenant=tenant):
                raise NotFoundError(visible(f"There is no schedule {name}."))
        return Shown({"name": name}, visible(f"{name} is deleted."))

    return delete


def _input(text: str | None) -> Any:
    """An input: JSON where it is some, else the words themselves."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _when(info: ScheduleInfo) -> str:
    rule = info.rule
    if rule.cron is not None:
        return f"{rule.cron} {rule.tz}"
    return f"each {rule.every_s:g} s" if rule.every_s is not None else "once"


def _next(info: ScheduleInfo) -> str:
    if info.paused:
        return "paused"
    return "never" if info.next_at is None else clock(info.next_at)


def _what(info: ScheduleInfo) -> str:
    return f"{info.task} {info.of or ''}".strip()
