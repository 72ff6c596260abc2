"""``agents stats`` and ``agents cluster``: the service in figures.

The client's commands ask a worker; the service's read the journal, and need none.
"""

from __future__ import annotations

import time
from typing import Any

import click

from celery_agents.client.overview.runs import Period
from celery_agents.client.overview.tables import ago, clock, dollars, lasting, table, width
from celery_agents.client.shell import Command, Opening, Shown
from celery_agents.contracts.watching import Cluster, Stats

_NOTHING = "Nothing has ended since then."


def figure_commands(opening: Opening) -> list[click.Command]:
    """Make the commands over a source of figures."""
    return [_stats_command(opening), _cluster_command(opening)]


def _stats_command(opening: Opening) -> click.Command:
    @click.command("stats", cls=Command)
    @click.option("--since", "since_s", type=Period(), default="1h", help="Ended since: 15m, 7d.")
    @click.option("--by", type=click.Choice(["agent", "tenant", "all"]), default="agent")
    @click.option("--agent", help="Only this one, or a pattern's task.")
    @click.option("--tenant", help="Only this one's.")
    @click.pass_context
    def command(ctx: click.Context, /, since_s: float, **wanted: Any) -> Shown:
        """Show steps in numbers: how many ended how, how long they took, what they cost."""
        with opening(ctx) as source:
            found = source.stats(since_s, **wanted)
        return Shown(found.model_dump(mode="json"), "\n".join(_stats(found)), states=True)

    return command


def _stats(found: Stats) -> list[str]:
    head = ("name", "state", "count", "mean", "median", "p95", "p99", "max", "cost")
    rows = [
        (
            row.name or "-",
            row.state.value,
            f"{row.count:,}",
            *map(_took, (row.mean_s, row.median_s, row.p95_s, row.p99_s, row.max_s)),
            dollars(row.usage.cost_usd),
        )
        for row in found.rows
    ]
    spare = ("max", "mean", "p99")
    within = width()
    lines = table(head, rows, within=within, spare=spare) if rows else [_NOTHING]
    return [*lines, f"since {clock(found.since)}, runs that began by {clock(found.counted_until)}"]


def _took(seconds: float | None) -> str:
    """Return a duration in three digits."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 1000 else lasting(seconds)  # noqa: PLR2004


def _cluster_command(opening: Opening) -> click.Command:
    @click.command("cluster", cls=Command)
    @click.pass_context
    def command(ctx: click.Context) -> Shown:
        """Show the service as a whole: workers, queues, how many steps wait for what.

        Exit 1 where no worker is up.
        """
        with opening(ctx) as source:
            found = source.cluster()
        up = any(worker.lease_left_s > 0 for worker in found.workers)
        return Shown(found.model_dump(mode="json"), "\n".join(_cluster(found)), ok=up)

    return command


def _in_use(running: int, slots: int | None) -> str:
    """Steps that run, of the slots where these are known."""
    return f"{running:,}" if slots is None else f"{running:,} of {slots:,}"


def _cluster(found: Cluster) -> list[str]:
    now = time.time()
    rows = [
        (
            worker.name,
            str(worker.pid),
            _in_use(worker.running, worker.slots),
            "—" if worker.memory_bytes is None else f"{worker.memory_bytes / 2**20:,.0f} MiB",
            "—" if worker.cores is None else f"{worker.cores:.2f}",
            ago(now - worker.started_at),
            f"{worker.lease_left_s:.0f} s" if worker.lease_left_s > 0 else "gone",
        )
        for worker in found.workers
    ]
    head = ("worker", "pid", "running", "memory", "cores", "started", "lease")
    lines = table(head, rows, within=width()) if rows else ["No worker is up."]
    for queue in found.queues:
        held = [f"{number:,} of priority {p}" for p, number in queue.queued.items() if number]
        lines.append(f"queue {queue.name}: {', '.join(held) or 'empty'}")
    waits_s = found.oldest_ready_s
    oldest = "" if waits_s is None else f", the oldest for {waits_s:.0f} s"
    used = _in_use(found.running, found.slots or None)
    lines.append(f"steps: {used} running, {found.ready:,} ready{oldest}")
    asked_s = found.oldest_asking_s
    longest = "" if asked_s is None else f", the oldest for {lasting(asked_s)}"
    lines.append(
        f"       {found.later:,} later, {found.asking:,} ask a person{longest}, "
        f"{found.unsettled:,} unsettled, {found.dead_letters:,} dead letters"
    )
    return lines
