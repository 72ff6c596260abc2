"""``celery -A app agents dead …``: they work on the journal itself, and need no worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from app.cli.opened import journal
from app.execution.publish import publish
from app.journal.stores.letters import Letters
from app.maintenance.acts import record_command
from app.maintenance.dead_letters import DeadLetters, Landing
from celery_agents.client.overview.tables import ago, room, table
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.visible import visible


@click.group()
def dead() -> None:
    """Messages that nobody could run, and steps that were given up."""


@contextmanager
def _letters(
    ctx: click.Context, action: str = "", targets: Sequence[str] = ()
) -> Iterator[DeadLetters]:
    """Open the letters; with an ``action``, write it down of each target first."""
    settings = ctx.obj.app.agents_settings
    with journal(ctx) as engine:
        for target in targets:
            record_command(engine, settings, action, target)
        yield DeadLetters(Letters(engine), Landing.connect(settings), settings)


@dead.command("list", cls=Command)
@click.option("--limit", type=int, default=100, show_default=True)
@click.pass_context
def list_letters(ctx: click.Context, limit: int) -> Shown:
    """List the newest letters."""
    with _letters(ctx) as letters:
        found, dropped = [*letters.list(limit)], letters.dropped()
    head, now = ("letter", "given up", "cause", "of", "reason"), time.time()
    rows = [
        (one["id"], ago(now - one["at"]), one["cause"], one["task"] or one["queue"], one["reason"])
        for one in found
    ]
    lines = (
        table(head, rows, within=room(), spare=("of",)) if rows else ["There are no dead letters."]
    )
    if dropped:
        lines.append(f"{dropped} older ones had to make room.")
    told = {"letters": found, "dropped": dropped}
    return Shown(told, "\n".join(lines))


@dead.command(cls=Command)
@click.argument("letter_id")
@click.pass_context
def show(ctx: click.Context, letter_id: str) -> Shown:
    """Show a letter with its payload, redacted."""
    with _letters(ctx) as letters:
        letter = letters.get(letter_id)
    if letter is None:
        raise NotFoundError(visible(f"There is no dead letter {letter_id}."))
    return Shown(letter)


@dead.command(cls=Command)
@click.argument("letter_ids", nargs=-1, required=True)
@click.pass_context
def requeue(ctx: click.Context, letter_ids: tuple[str, ...]) -> Iterator[Shown]:
    """Let letters run again, with all their attempts."""
    app = ctx.obj.app
    with _letters(ctx, "letter.requeue", letter_ids) as letters:
        for letter_id in letter_ids:
            after = letters.requeue(letter_id)
            for wake in after.wakes:
                app.backend.forget(wake.id)
            publish(app, after.wakes)
            yield Shown({"id": letter_id}, visible(f"{letter_id} is queued again."))


@dead.command(cls=Command)
@click.argument("letter_ids", nargs=-1, required=True)
@click.pass_context
def drop(ctx: click.Context, letter_ids: tuple[str, ...]) -> Iterator[Shown]:
    """Forget letters."""
    with _letters(ctx, "letter.drop", letter_ids) as letters:
        for letter_id in letter_ids:
            if not letters.drop(letter_id):
                raise NotFoundError(visible(f"There is no dead letter {letter_id}."))
            yield Shown({"id": letter_id}, visible(f"{letter_id} is dropped."))
