"""``agents memory``: memories from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from celery_agents.client.overview.tables import clock
from celery_agents.client.shell import (
    Command,
    NotFoundError,
    Opening,
    Shown,
    moment,
    name_argument,
    tenant_option,
)
from celery_agents.contracts.experience import MemoryEffect
from celery_agents.contracts.memory import RECALL_TOKENS, MemoryRecord
from celery_agents.visible import visible

_scope = click.option(
    "--scope", "-s", multiple=True, metavar="NAME=VALUE", help="A value for a place of its space."
)


def memory_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("memory", help="Texts that agents keep for later runs.")
    for make in (
        _search_command,
        _export_command,
        _reembed_command,
        _forget_command,
        _effect_command,
    ):
        group.add_command(make(opening))
    return group


def _search_command(opening: Opening) -> click.Command:
    @click.command("search", cls=Command)
    @name_argument
    @click.argument("question")
    @_scope
    @click.option("--tokens", default=RECALL_TOKENS, show_default=True, help="At the most.")
    @click.option("--at", metavar="TIME", help="What held then: 2026-11-30T09:00+01:00.")
    @tenant_option
    @click.pass_context
    def search(
        ctx: click.Context,
        /,
        name: str,
        question: str,
        scope: Sequence[str],
        at: str | None,
        **about: Any,
    ) -> Shown:
        """Show what memory NAME has for a QUESTION, the best first."""
        held = moment(at)
        with opening(ctx) as client:
            found = client.memory.search(name, question, scope=_read(scope), at=held, **about)
        return _shown(found)

    return search


def _export_command(opening: Opening) -> click.Command:
    @click.command("export", cls=Command)
    @name_argument
    @_scope
    @tenant_option
    @click.pass_context
    def export(ctx: click.Context, name: str, scope: Sequence[str], tenant: str) -> Shown:
        """Show all that memory NAME has, with what is over."""
        with opening(ctx) as client:
            found = [*client.memory.export(name, scope=_read(scope), tenant=tenant)]
        return _shown(found)

    return export


def _reembed_command(opening: Opening) -> click.Command:
    @click.command("reembed", cls=Command)
    @name_argument
    @_scope
    @tenant_option
    @click.pass_context
    def reembed(ctx: click.Context, name: str, scope: Sequence[str], tenant: str) -> Shown:
        """Have vectors made of memories of NAME that lack one of its agent."""
        with opening(ctx) as client:
            number = client.memory.reembed(name, scope=_read(scope), tenant=tenant)
        told = visible(f"{number:,} vectors of {name} were made.")
        return Shown({"name": name, "embedded": number}, told)

    return reembed


def _effect_command(opening: Opening) -> click.Command:
    @click.command("effect", cls=Command)
    @name_argument
    @click.option("--agent", help="Of this one alone.")
    @_scope
    @tenant_option
    @click.pass_context
    def effect(ctx: click.Context, /, name: str, scope: Sequence[str], **about: Any) -> Shown:
        """Show whether what memory NAME has learned from runs helps."""
        with opening(ctx) as client:
            found = client.memory.effect(name, scope=_read(scope), **about)
        return Shown(found.model_dump(mode="json"), visible("\n".join(_compared(found))))

    return effect


def _compared(found: MemoryEffect) -> list[str]:
    sides = (("with", found.told), ("without", found.held_out))
    lines = [
        f"{name:<8} {side.share:6.1%} of {side.runs:,} succeeded, at {side.cost_usd:.4f} USD"
        for name, side in sides
    ]
    if found.by is None or found.low is None or found.high is None:
        return [*lines, "Too few to compare."]
    return [*lines, f"{'by':<8} {found.by:+6.1%}, from {found.low:+.1%} to {found.high:+.1%}"]


def _forget_command(opening: Opening) -> click.Command:
    @click.command("forget", cls=Command)
    @name_argument
    @click.argument("ids", nargs=-1)
    @click.option("--everything", is_flag=True, help="All that the space has.")
    @_scope
    @tenant_option
    @click.pass_context
    def forget(
        ctx: click.Context, /, name: str, ids: Sequence[str], scope: Sequence[str], **about: Any
    ) -> Shown:
        """Erase memories of NAME by their IDS; exit 1 when there are none."""
        if bool(ids) is about["everything"]:
            raise click.UsageError("Either IDS or --everything is needed.")
        with opening(ctx) as client:
            number = client.memory.forget(name, [*ids] or None, scope=_read(scope), **about)
        if not number:
            raise NotFoundError(visible(f"{name} has none of them."))
        return Shown({"name": name, "erased": number}, visible(f"{number:,} of {name} are erased."))

    return forget


def _read(scope: Sequence[str]) -> dict[str, str]:
    pairs = [told.partition("=") for told in scope]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.UsageError(f"--scope: {wrong[0]!r} is no NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _shown(found: Sequence[MemoryRecord]) -> Shown:
    lines = [visible(f"{m.id}  {clock(m.at)}{_marks(m)}  {m.text}") for m in found]
    told = [memory.model_dump(mode="json", exclude_defaults=True) for memory in found]
    return Shown(told, "\n".join(lines) or "There are no such memories.")


def _marks(memory: MemoryRecord) -> str:
    over = "  over" if memory.until else ""
    return f"{over}  untrusted" if memory.trust == 1 else over
