"""The service's own commands of ``celery -A app agents …``: they work on the journal itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from redis.exceptions import RedisError
from sqlalchemy import Engine

from app.admission.limits import sights
from app.admission.limits.shared import SharedLimits
from app.admission.scripts import TIMEOUT_S, Scripts
from app.cli.audit import audit
from app.cli.cassette import cassette
from app.cli.dead_letters import dead
from app.cli.encryption import encryption
from app.cli.flows import flows
from app.cli.keys import keys, token
from app.cli.load import load
from app.cli.mcp import mcp
from app.cli.metrics import metrics
from app.cli.opened import journal as _journal
from app.cli.plugins import plugins
from app.cli.replicate import replicate
from app.cli.runs import JournaledFigures, JournaledRuns
from app.cli.tools import tools
from app.cli.webhooks import webhook_secret
from app.execution.publish import publish
from app.journal.retention import cleanup
from app.journal.schema import migrate
from app.journal.steps.joins import Rules
from app.journal.stores.archive import Archive
from app.maintenance.acts import record_command
from app.maintenance.health import report
from app.maintenance.retention import clean_all, would_clean
from app.messaging.intake import Intake
from app.messaging.redis import connect_redis
from app.settings import Settings
from celery_agents.client.cli import AHEAD, unknown_run
from celery_agents.client.overview.figures import figure_commands
from celery_agents.client.overview.runs import runs_group
from celery_agents.client.overview.tables import ago, room, table
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.visible import visible


@click.group()
def commands() -> None:
    """Added to the client's commands by ``agents_cli`` of the app."""


commands.add_command(audit)
commands.add_command(cassette)
commands.add_command(dead)
commands.add_command(encryption)
commands.add_command(flows)
commands.add_command(keys)
commands.add_command(load)
commands.add_command(token)
commands.add_command(webhook_secret)
commands.add_command(mcp)
commands.add_command(metrics)
commands.add_command(plugins)
commands.add_command(replicate)
commands.add_command(tools)


@contextmanager
def _runs(ctx: click.Context) -> Iterator[JournaledRuns]:
    with _journal(ctx) as engine:
        yield JournaledRuns(engine, lambda tree: sights.with_places(_limits(ctx), tree))


@contextmanager
def _figures(ctx: click.Context) -> Iterator[JournaledFigures]:
    with _journal(ctx) as engine:
        yield JournaledFigures(engine, ctx.obj.app.agents_settings)


commands.add_command(runs_group(_runs))
for figure_command in figure_commands(_figures):
    commands.add_command(figure_command)


@commands.group()
def db() -> None:
    """The journal's schema."""


@db.command(cls=Command)
@click.argument("revision", default="head")
@click.pass_context
def upgrade(ctx: click.Context, revision: str) -> Shown:
    """Bring the schema up to REVISION (default: this version's)."""
    with _journal(ctx) as engine:
        migrate.upgrade(engine, revision)  # before it there may be no place to write that down
        _act_on_schema(ctx, engine, "db.upgrade", revision)
        return _revision(engine)


@db.command(cls=Command)
@click.argument("revision")
@click.pass_context
def downgrade(ctx: click.Context, revision: str) -> Shown:
    """Take the schema back to REVISION; ``base`` empties the journal."""
    with _journal(ctx) as engine:
        _act_on_schema(ctx, engine, "db.downgrade", revision)
        migrate.downgrade(engine, revision)
        return _revision(engine)


@db.command(cls=Command)
@click.pass_context
def current(ctx: click.Context) -> Shown:
    """Show the schema's revision and the one that this version needs."""
    with _journal(ctx) as engine:
        found = Archive(engine).revision()
    needed = migrate.head()
    text = f"found {found or 'none'}, needed {needed}"
    return Shown({"revision": found, "needed": needed}, text)


@db.command(cls=Command)
@click.pass_context
def vacuum(ctx: click.Context) -> Shown:
    """Give room that was freed back to the disk. On SQLite everybody waits for it."""
    with _journal(ctx) as engine:
        _act_on_schema(ctx, engine, "db.vacuum")
        cleanup.vacuum(engine)
    return Shown({"vacuumed": True}, "The journal holds no unused room.")


def _act(ctx: click.Context, engine: Engine, action: str, target: str = "") -> None:
    record_command(engine, ctx.obj.app.agents_settings, action, target)


def _act_on_schema(ctx: click.Context, engine: Engine, action: str, target: str = "") -> None:
    if Archive(engine).revision() == migrate.head():  # others may have no place for it
        _act(ctx, engine, action, target)


def _revision(engine: Engine) -> Shown:
    found = Archive(engine).revision()
    return Shown({"revision": found}, f"The journal is at {found or 'base'}.")


@commands.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_context
def clean(ctx: click.Context, *, dry_run: bool) -> Shown:
    """Delete what is older than it is kept, as beat's task does."""
    settings = ctx.obj.app.agents_settings
    with _journal(ctx) as engine:
        work = would_clean if dry_run else clean_all
        if not dry_run:
            _act(ctx, engine, "clean")
        gone = work(engine, Intake.connect(settings), settings)
    head = "Would delete:" if dry_run else "Deleted:"
    table = _table(("table", "rows"), [(name, str(n)) for name, n in sorted(gone.items())])
    return Shown({"dry_run": dry_run, "rows": dict(gone)}, f"{head}\n{table}")


@commands.command(cls=Command)
@click.pass_context
def health(ctx: click.Context) -> Shown:
    """Show how broker, journal, agents and providers are; exit 1 when something is wrong."""
    with _journal(ctx) as engine:
        found = report(engine, ctx.obj.app.agents_settings)
    table = _table(
        ("target", "state", "since", "checked", "latency", "failures", "breaker", "message"),
        [
            (
                r["target"],
                r["state"],
                "" if r["lasts_s"] is None else ago(r["lasts_s"]),
                ago(r["age_s"]),
                "" if r["latency_ms"] is None else f"{r['latency_ms']:.1f} ms",
                str(r["failures"]),
                r["breaker"] or "",
                r["message"] or "",
            )
            for r in found.rows
        ],
        spare=("since", "failures", "latency"),
    )
    return Shown({"ok": found.ok, "targets": found.rows}, table, ok=found.ok)


@commands.command("list", cls=Command)
@click.pass_context
def list_agents(ctx: click.Context) -> Shown:
    """List the agents that workers have offered."""
    with _journal(ctx) as engine:
        rows = Archive(engine).agents()
    now = time.time()
    table = _table(
        ("agent", "kind", "effects", "seen", "description"),
        [
            (
                r["name"],
                r["kind"],
                r["effects"],
                ago(now - r["seen_at"]),
                r["description"],
            )
            for r in rows
        ],
    )
    return Shown(rows, table if rows else "No worker has offered agents yet.")


@commands.command(cls=Command)
@click.argument("run_id")
@click.pass_context
def status(ctx: click.Context, run_id: str) -> Shown:
    """Show a run as a tree of steps, with its events."""
    with _journal(ctx) as engine:
        intake = Intake.connect(ctx.obj.app.agents_settings)
        tree = sights.status(_limits(ctx), intake, run_id, Archive(engine).run_tree(run_id))
        told = Archive(engine).events(run_id)
    if tree is None:
        raise NotFoundError(visible(f"There is no run {run_id} in the journal."))
    below: dict[str | None, list[dict[str, Any]]] = {}
    for step in tree["steps"]:
        below.setdefault(step["parent_id"], []).append(step)
    lines = [*_asked(tree), *_branch(below, None, "")]
    if tree["steps_left_out"]:
        lines.append(f"… and {tree['steps_left_out']:,} more steps")
    for event in told:
        at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
        line = f"{at}  {event['kind']:<10} {event['step_id'][:8]}  {event['data'] or ''}"
        lines.append(visible(line))
    return Shown({**tree, "events": told}, "\n".join(lines))


@commands.command(cls=Command)
@click.argument("run_id")
@click.option("--ahead", is_flag=True, help=AHEAD)
@click.pass_context
def cancel(ctx: click.Context, run_id: str, *, ahead: bool) -> Shown:
    """Cancel a run with all its steps; it needs no worker and no broker.

    Its exit status is 1 when there is no such run, or when it has ended.
    """
    app = ctx.obj.app
    rules = Rules(
        lambda task, payload, members: app.tasks[task].decided(payload, members),
        app.agents_settings.wake_grace_s,
        seals=app.agents_settings.seals,
    )
    with _journal(ctx) as engine:
        archive = Archive(engine)
        if not ahead and not _known(archive, app.agents_settings, run_id):
            raise unknown_run(run_id)
        _act(ctx, engine, "run.cancel", run_id)
        after = archive.cancel(run_id, rules)
    if not after.applied:
        raise click.ClickException(visible(f"{run_id} had ended already."))
    publish(app, after.wakes)
    stopped = len(after.cancels)
    text = f"{run_id} is cancelled; {stopped} running steps were asked to stop."
    return Shown({"id": run_id, "stopped": stopped}, visible(text))


def _known(archive: Archive, settings: Settings, run_id: str) -> bool:
    """Return whether the run has a row or a recorded message; assume so without Redis."""
    if archive.has_run(run_id):
        return True
    try:
        return Intake.connect(settings).has(run_id)
    except RedisError as error:
        told = settings.broker.error(error)
        click.echo(f"Redis does not say whether there is a run {run_id}: {told}", err=True)
        return True


def _limits(ctx: click.Context) -> SharedLimits:
    """Limits as far as they stand in Redis: who waits, and where."""
    settings = ctx.obj.app.agents_settings
    shared = Scripts(connect_redis(settings, TIMEOUT_S))
    return SharedLimits(shared, {}, lease_s=settings.lease_s, standing=lambda: (0, 1))


def _asked(tree: dict[str, Any]) -> Iterator[str]:
    """Of a run that has a session, or bounds of its own, a line that says so."""
    told = [f"{name} {value:g}" for name, value in tree["bounds"].items()]
    if tree["session"] is not None:
        told = [f"session {tree['session']}", *told]
    if told:
        yield visible("  ".join(told))


def _branch(
    below: dict[str | None, list[dict[str, Any]]], parent: str | None, indent: str
) -> Iterator[str]:
    for step in below.get(parent, []):
        took = (
            f"{step['finished_at'] - step['started_at']:.2f} s"
            if step["finished_at"] and step["started_at"]
            else ""
        )
        name = step["agent"] or step["task"]
        error = f"  {step['error']['kind']}: {step['error']['message']}" if step["error"] else ""
        waits = f"  waits for {step['waits_for']}" if "waits_for" in step else ""
        line = (
            f"{indent}{name:<24} {step['state']:<10} x{step['attempts']}  {took:>9}"
            f"  {step['id']}{error or waits}"
        )
        yield visible(line)
        yield from _branch(below, step["id"], indent + "  ")


def _table(
    head: tuple[str, ...], rows: list[tuple[str, ...]], *, spare: tuple[str, ...] = ()
) -> str:
    return "\n".join(table(head, rows, within=room(), spare=spare))
