"""``celery -A app agents dead …``: they work on the journal itself, and need no worker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from celery.bin.base import CeleryCommand

from app.execution.publish import publish
from app.journal.schema.engine import connect
from app.journal.stores.letters import Letters
from app.maintenance.dead_letters import DeadLetters, Landing
from celery_agents.visible import visible, visible_lines


@click.group()
def dead() -> None:
    """Messages that nobody could run, and steps that were given up."""


@contextmanager
def _letters(ctx: click.Context) -> Iterator[DeadLetters]:
    settings = ctx.obj.app.agents_settings
    engine = connect(settings.database_url.get_secret_value(), timeout_s=5.0)
    try:
        yield DeadLetters(Letters(engine), Landing.connect(settings), settings)
    finally:
        engine.dispose()


@dead.command("list", cls=CeleryCommand)
@click.option("--limit", type=int, default=100, show_default=True)
@click.pass_context
def list_letters(ctx: click.Context, limit: int) -> None:
    """List the newest letters."""
    with _letters(ctx) as letters:
        for letter in letters.list(limit):
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter["at"]))
            what = letter["task"] or letter["queue"]
            line = f"{letter['id']}  {at}  {letter['cause']:<16} {what}  {letter['reason']}"
            click.echo(visible(line))
        if dropped := letters.dropped():
            click.echo(f"{dropped} older ones had to make room.")


@dead.command(cls=CeleryCommand)
@click.argument("letter_id")
@click.pass_context
def show(ctx: click.Context, letter_id: str) -> None:
    """Show a letter with its payload, redacted."""
    with _letters(ctx) as letters:
        letter = letters.get(letter_id)
    if letter is None:
        raise click.ClickException(visible(f"There is no dead letter {letter_id}."))
    click.echo(visible_lines(json.dumps(letter, ensure_ascii=False, indent=2)))


@dead.command(cls=CeleryCommand)
@click.argument("letter_ids", nargs=-1, required=True)
@click.pass_context
def requeue(ctx: click.Context, letter_ids: tuple[str, ...]) -> None:
    """Let letters run again, with all their attempts."""
    app = ctx.obj.app
    with _letters(ctx) as letters:
        for letter_id in letter_ids:
            after = letters.requeue(letter_id)
            for wake in after.wakes:
                app.backend.forget(wake.id)
            publish(app, after.wakes)
            click.echo(visible(f"{letter_id} is queued again."))


@dead.command(cls=CeleryCommand)
@click.argument("letter_ids", nargs=-1, required=True)
@click.pass_context
def drop(ctx: click.Context, letter_ids: tuple[str, ...]) -> None:
    """Forget letters."""
    with _letters(ctx) as letters:
        for letter_id in letter_ids:
            if not letters.drop(letter_id):
                raise click.ClickException(visible(f"There is no dead letter {letter_id}."))
            click.echo(visible(f"{letter_id} is dropped."))
