"""``celery -A app agents replicate``: take over what another data centre has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from app.cli.opened import journal
from app.execution.acting.hearing import KEPT_LEAST_S
from app.journal.replicated.store import ReplicatedStore
from app.maintenance.acts import record_command
from app.maintenance.replicating import PageTaken, Replication, Source
from celery_agents.client.shell import Command, Shown
from celery_agents.contracts.base import tenant_of
from celery_agents.visible import visible

#: The environment's key of the other data centre's API.
KEY = "AGENTS_REPLICATE_KEY"


@click.command("replicate", cls=Command)
@click.option("--from", "url", metavar="URL", help="The other data centre's API: https://…")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"The file with the key of that API; else {KEY} of the environment.",
)
@click.option("--once/--follow", default=True, help="What there is, or what comes, too.")
@click.option("--interval", "interval_s", type=click.FloatRange(0.05), default=1.0)
@click.option("--from-start", "anew", is_flag=True, help="Read all again; what is known stays.")
@click.option("--tenant", default="", help="Whose values, here and there; else nobody's.")
@click.option("--new-identity", is_flag=True, help="Give this journal, a copy, another name.")
@click.option("--compact", is_flag=True, help="Put changes of AGENTS_KEEP_DAYS ago together.")
@click.pass_context
def replicate(
    ctx: click.Context,
    /,
    *,
    url: str | None,
    key_file: Path | None,
    once: bool,
    new_identity: bool,
    compact: bool,
    **about: object,
) -> Iterator[Shown]:
    """Take over the replicated values that another data centre has changed.

    Page by page, each with how far it is in one transaction: whoever is killed goes on there.
    """
    if (url is not None) + new_identity + compact != 1:
        raise click.UsageError("One of --from, --new-identity and --compact is needed.")
    tenant = tenant_of(about.pop("tenant"))
    settings = ctx.obj.app.agents_settings
    with journal(ctx) as engine:
        store = ReplicatedStore(engine)
        if compact:
            record_command(engine, settings, "replicate.compact", tenant=tenant)
            told = store.compact(tenant, max(settings.keep_days * 86_400.0, KEPT_LEAST_S))
            text = f"{told.entries:,} entries fewer, of {told.values:,} values."
            yield Shown(told._asdict(), text)
            return
        if url is None:
            record_command(engine, settings, "replicate.identity")
            name = store.renew()
            yield Shown({"replica": name}, f"This journal is {name} from now on.")
            return
        with closing(Source(url, _key(key_file), tenant)) as source:
            record_command(engine, settings, "replicate", source.url, tenant=tenant)
            taking = Replication(store, source, tenant, **about)  # type: ignore[arg-type]
            for page in taking.once() if once else taking.follow():
                yield _shown(page)
            if once:
                yield Shown({"source": source.url, "done": True}, "All there is was taken over.")


def _key(path: Path | None) -> str | None:
    told = os.environ.get(KEY) if path is None else path.read_text(encoding="utf-8")
    return (told or "").strip() or None


def _shown(told: PageTaken) -> Shown:
    text = f"{told.new:,} new, {told.known:,} known, {told.behind:,} to come"
    if told.renewed:
        text += "; this journal was set back, and has another name since"
    return Shown(told._asdict(), visible(told.error or text))
