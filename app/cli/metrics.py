"""``celery -A app agents metrics``: the service's gauges for what nobody scrapes."""

from __future__ import annotations

import click

from app.cli.opened import journal
from app.maintenance.sight import sight
from app.telemetry.exposition import page, registry
from app.telemetry.gauges import ServiceGauges
from celery_agents.client.shell import Command, Shown
from celery_agents.errors import redact
from celery_agents.visible import visible

#: Seconds that a gateway has to take them.
_PUSH_S = 10.0


@click.command("metrics", cls=Command)
@click.option("--push", "gateway", metavar="URL", help="Push them to a Pushgateway.")
@click.option("--job", default="celery-agents", show_default=True, help="Their job there.")
@click.pass_context
def metrics(ctx: click.Context, *, gateway: str | None, job: str) -> Shown:
    """Show the gauges of the service as Prometheus reads them; it needs no worker and no API.

    Commands that cron runs push them, or write them where node_exporter reads files.
    """
    with journal(ctx) as engine:
        families = list(ServiceGauges(**sight(engine, ctx.obj.app.agents_settings)).families())
    samples = [
        {"name": s.name, "labels": s.labels, "value": s.value} for f in families for s in f.samples
    ]
    if gateway is None:
        return Shown({"pushed": False, "gauges": samples}, page(families).rstrip())
    from prometheus_client import push_to_gateway

    try:
        push_to_gateway(gateway, job=job, registry=registry(families), timeout=_PUSH_S)
    except (OSError, ValueError) as error:  # away, or no address of one
        told = visible(redact(f"{gateway} did not take them: {error}"))
        raise click.ClickException(told) from None
    told = visible(redact(f"{len(samples)} gauges were pushed to {gateway}."))
    return Shown({"pushed": True, "gauges": samples}, told)
