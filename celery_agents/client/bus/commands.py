"""``agents events``: streams of events, and who is served with them, from the command line."""

from __future__ import annotations

import json
from typing import Any

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
from celery_agents.contracts.flows.entries import StreamEvent
from celery_agents.contracts.flows.subscriptions import StreamLimitsInfo, SubscriptionInfo
from celery_agents.visible import visible

_stream = click.argument("stream")
_of = click.argument("of")
#: What is done with a subscription: its help, and what is told then.
_SWITCHES = {
    "pause": ("Let subscription NAME serve nothing; it loses nothing.", "is paused"),
    "resume": ("Let subscription NAME go on where it stands.", "goes on"),
    "rebuild": ("Empty projection NAME, and give it all events anew.", "begins anew"),
}


def events_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("events", help="Streams of events, and who is served with them.")
    makers = (
        *(_list_command, _on_command, _off_command, _append_command, _read_command),
        *(_state_command, _keep_command, _kept_command),
    )
    for make in makers:
        group.add_command(make(opening))
    for verb in _SWITCHES:
        group.add_command(_switch_command(opening, verb))
    return group


def _list_command(opening: Opening) -> click.Command:
    @click.command("list", cls=Command)
    @tenant_option
    @click.pass_context
    def listing(ctx: click.Context, tenant: str) -> Shown:
        """List subscriptions and projections, and how far they are."""
        with opening(ctx) as client:
            found = client.events.subscriptions(tenant=tenant)
        head = ("name", "of", "serves", "served", "behind", "lost", "state", "error")
        rows = [
            (one.name, one.of, _what(one), one.served, one.behind, one.lost, _state(one), one.error)
            for one in found
        ]
        shown = [tuple("" if cell is None else str(cell) for cell in row) for row in rows]
        lines = table(head, shown, within=width()) if rows else ["There are no subscriptions."]
        return Shown([one.model_dump(mode="json") for one in found], "\n".join(lines))

    return listing


def _on_command(opening: Opening) -> click.Command:
    @click.command("on", cls=Command)
    @_of
    @click.option("--flow", help="The flow that each event starts.")
    @click.option("--agent", help="The agent that is asked each event.")
    @click.option("--kind", help="Of which kind events are; else of each.")
    @click.option("--key", help="Events of the same key start one run: {data[id]}.")
    @click.option("--name", help="Under which it is known; else made of the others.")
    @click.option("--since", type=click.Choice(["now", "start"]), default="now")
    @click.option("--poison", type=click.Choice(["skip", "stop"]), default="skip")
    @tenant_option
    @click.pass_context
    def on(
        ctx: click.Context, /, of: str, flow: str | None, agent: str | None, **about: Any
    ) -> Shown:
        """Start a run for each event of streams OF (order/7, order/*)."""
        if (flow is None) == (agent is None):
            raise click.UsageError("One of --flow and --agent is needed.")
        with opening(ctx) as client:
            run = None if agent is None else client.ask.s(agent)
            found = client.events.on(of, start=flow, run=run, **about)
        return Shown(found.model_dump(mode="json"), visible(found.name))

    return on


def _off_command(opening: Opening) -> click.Command:
    @click.command("off", cls=Command)
    @name_argument
    @tenant_option
    @click.pass_context
    def off(ctx: click.Context, name: str, tenant: str) -> Shown:
        """Delete subscription NAME; its runs stay. Exit 1 when there is none."""
        with opening(ctx) as client:
            if not client.events.off(name, tenant=tenant):
                raise NotFoundError(visible(f"There is no subscription {name}."))
        return Shown({"name": name}, visible(f"{name} is deleted."))

    return off


def _switch_command(opening: Opening, verb: str) -> click.Command:
    told, done = _SWITCHES[verb]

    @click.command(verb, cls=Command, help=told)
    @name_argument
    @tenant_option
    @click.pass_context
    def switch(ctx: click.Context, name: str, tenant: str) -> Shown:
        with opening(ctx) as client:
            getattr(client.events, verb)(name, tenant=tenant)
        return Shown({"name": name}, visible(f"{name} {done}."))

    return switch


def _append_command(opening: Opening) -> click.Command:
    @click.command("append", cls=Command)
    @_stream
    @click.argument("kind")
    @click.argument("data", default="{}")
    @click.option("--key", help="Of one kind and key there is one.")
    @click.option("--expected", type=int, help="Events that the stream is to have.")
    @tenant_option
    @click.pass_context
    def append(ctx: click.Context, /, stream: str, kind: str, data: str, **about: Any) -> Shown:
        """Add an event of KIND to STREAM; DATA is a JSON object."""
        try:
            told = json.loads(data)
        except ValueError:
            raise click.BadParameter("DATA is no JSON.") from None
        event = StreamEvent.read({"kind": kind, "data": told, "key": about.pop("key")})
        with opening(ctx) as client:
            (place,) = client.events.append(stream, [event], **about)
        return Shown({"stream": stream, "seq": place}, str(place))

    return append


def _read_command(opening: Opening) -> click.Command:
    @click.command("read", cls=Command)
    @_stream
    @click.option("--after", type=int, default=-1, help="Behind this place.")
    @tenant_option
    @click.pass_context
    def read(ctx: click.Context, stream: str, after: int, tenant: str) -> Any:
        """Show the events of STREAM, each a line."""
        with opening(ctx) as client:
            for one in client.events.read(stream, after=after, tenant=tenant):
                text = f"{one.seq}  {clock(one.at)}  {one.kind}  {json.dumps(one.data)}"
                yield Shown(one.model_dump(mode="json"), visible(text))

    return read


def _state_command(opening: Opening) -> click.Command:
    @click.command("state", cls=Command)
    @_stream
    @click.argument("reducer")
    @tenant_option
    @click.pass_context
    def state(ctx: click.Context, stream: str, reducer: str, tenant: str) -> Shown:
        """Show the state that REDUCER makes of STREAM."""
        with opening(ctx) as client:
            found = client.events.state(stream, reducer, tenant=tenant)
        return Shown(found.model_dump(mode="json"), visible(json.dumps(found.state)))

    return state


def _keep_command(opening: Opening) -> click.Command:
    @click.command("keep", cls=Command)
    @_of
    @click.option("--days", type=float, help="Older events go.")
    @click.option("--megabytes", type=float, help="The oldest go that are beyond.")
    @tenant_option
    @click.pass_context
    def keep(
        ctx: click.Context, of: str, days: float | None, megabytes: float | None, tenant: str
    ) -> Shown:
        """Keep events of streams OF for so long; with neither option, for ever."""
        seconds = None if days is None else days * 86_400
        size = None if megabytes is None else int(megabytes * 1_000_000)
        with opening(ctx) as client:
            client.events.keep(of, seconds=seconds, size_bytes=size, tenant=tenant)
        told = {"of": of, "keep_s": seconds, "keep_bytes": size}
        return Shown(told, visible(f"{of}: what is beyond goes within a minute or so."))

    return keep


def _kept_command(opening: Opening) -> click.Command:
    @click.command("kept", cls=Command)
    @tenant_option
    @click.pass_context
    def kept(ctx: click.Context, tenant: str) -> Shown:
        """List the streams whose events are trimmed."""
        with opening(ctx) as client:
            found = client.events.kept(tenant=tenant)
        rows = [
            tuple("" if cell is None else str(cell) for cell in (one.of, *_limits(one)))
            for one in found
        ]
        head = ("of", "seconds", "bytes", "trimmed")
        lines = table(head, rows, within=width()) if rows else ["All events are kept."]
        return Shown([one.model_dump(mode="json") for one in found], "\n".join(lines))

    return kept


def _limits(info: StreamLimitsInfo) -> tuple[Any, ...]:
    return (info.limits.keep_s, info.limits.keep_bytes, info.trimmed)


def _what(info: SubscriptionInfo) -> str:
    if info.serves == "projection":
        return f"projection {info.version}"
    if info.serves == "unknown":
        return "of a newer version"
    return f"{info.task} {info.what or ''}".strip()


def _state(info: SubscriptionInfo) -> str:
    return "paused" if info.paused else f"{info.lag_s:.0f} s behind" if info.behind else "there"
