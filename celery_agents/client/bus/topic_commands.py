"""``agents topics``: messages that are told to whoever listens, from the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from celery_agents.client.overview.tables import clock, table, width
from celery_agents.client.shell import Command, Opening, Shown, tenant_option
from celery_agents.contracts.flows.topics import TopicMessage
from celery_agents.visible import visible

_topic = click.argument("topic")


def topics_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("topics", help="Messages that are told to whoever listens.")
    makers = (_list_command, _publish_command, _history_command, _listen_command)
    for make in (*makers, _dead_command, _subscribe_command):
        group.add_command(make(opening))
    return group


def _list_command(opening: Opening) -> click.Command:
    @click.command("list", cls=Command)
    @tenant_option
    @click.pass_context
    def listing(ctx: click.Context, tenant: str) -> Shown:
        """List topics that have messages."""
        with opening(ctx) as client:
            found = client.topics.list(tenant=tenant)
        rows = [(one.topic, f"{one.messages:,}", clock(one.last_at)) for one in found]
        head = ("topic", "messages", "last")
        lines = table(head, rows, within=width()) if rows else ["There are no topics."]
        return Shown([one.model_dump(mode="json") for one in found], "\n".join(lines))

    return listing


def _publish_command(opening: Opening) -> click.Command:
    @click.command("publish", cls=Command)
    @_topic
    @click.argument("body")
    @click.option("--priority", type=click.IntRange(0, 9), default=5, show_default=True)
    @click.option("--key", help="Of one key there is one message.")
    @tenant_option
    @click.pass_context
    def publish(ctx: click.Context, /, topic: str, body: str, **about: Any) -> Shown:
        """Tell BODY, JSON or else a text, to all who listen to TOPIC."""
        with opening(ctx) as client:
            place = client.topics.publish(topic, _body(body), **about)
        return Shown({"topic": topic, "place": place}, str(place))

    return publish


def _history_command(opening: Opening) -> click.Command:
    @click.command("history", cls=Command)
    @_topic
    @click.option("--after", type=int, default=-1, help="Behind this place.")
    @tenant_option
    @click.pass_context
    def history(ctx: click.Context, topic: str, after: int, tenant: str) -> Any:
        """Show the messages of TOPIC that are kept, each a line."""
        with opening(ctx) as client:
            for message in client.topics.history(topic, after=after, tenant=tenant):
                yield _line(message)

    return history


def _listen_command(opening: Opening) -> click.Command:
    @click.command("listen", cls=Command)
    @_topic
    @click.argument("name")
    @click.option("--idle", "idle_s", type=float, help="End when none has come for so long.")
    @tenant_option
    @click.pass_context
    def listen(ctx: click.Context, topic: str, name: str, idle_s: float | None, tenant: str) -> Any:
        """Show the messages of TOPIC that the listener NAME has not come past, as they come."""
        with opening(ctx) as client:
            for message in client.topics.listen(topic, name, idle_s=idle_s, tenant=tenant):
                yield _line(message)

    return listen


def _dead_command(opening: Opening) -> click.Command:
    @click.command("dead", cls=Command)
    @_topic
    @tenant_option
    @click.pass_context
    def dead(ctx: click.Context, topic: str, tenant: str) -> Any:
        """Show the messages of TOPIC at which listeners failed, and why."""
        with opening(ctx) as client:
            for one in client.topics.dead(topic, tenant=tenant):
                text = f"{one.data['place']}  {one.data['listener']}  {one.data['reason']}"
                yield Shown(one.model_dump(mode="json"), visible(text))

    return dead


def _subscribe_command(opening: Opening) -> click.Command:
    @click.command("subscribe", cls=Command)
    @_topic
    @click.argument("agent")
    @click.option("--name", help="Under which it is known.")
    @tenant_option
    @click.pass_context
    def subscribe(
        ctx: click.Context, topic: str, agent: str, name: str | None, tenant: str
    ) -> Shown:
        """Have AGENT take each message of TOPIC, a run each; `events off` ends that."""
        with opening(ctx) as client:
            found = client.topics.subscribe(topic, agent, name=name, tenant=tenant)
        return Shown(found.model_dump(mode="json"), visible(found.name))

    return subscribe


def _body(text: str) -> Any:
    """A body: JSON where it is some, else the words themselves."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _line(message: TopicMessage) -> Shown:
    told = f"{message.missed:,} were missed" if message.missed else json.dumps(message.body)
    text = f"{message.place}  {clock(message.at)}  {message.priority}  {told}"
    return Shown(message.model_dump(mode="json"), visible(text))
