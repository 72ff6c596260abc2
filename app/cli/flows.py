"""``agents flows``: this checkout's code held against the histories of flows, read only."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import click

from agents.catalog.flows import Flows
from agents.catalog.loading import import_module, see_current_directory
from agents.flows.history import Line
from agents.flows.pattern import begun, dropped
from agents.plugins.serving import loaded
from app.cli.opened import journal
from app.journal.stores.flows import FlowStore, OpenFlow
from app.plugins import plugins_of
from app.settings import Settings
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.contracts.base import id_of
from celery_agents.contracts.flows.flow import Flow
from celery_agents.errors import FlowError, UnknownFlowError
from celery_agents.visible import visible


@click.group()
def flows() -> None:
    """Hold this code against the histories of flows, before it is deployed."""


@flows.command(cls=Command)
@click.pass_context
def check(ctx: click.Context) -> Shown:
    """Replay all open flows with this code; exit 1 if one of them would be parked."""
    code = _flows(ctx.obj.app.agents_settings)
    with journal(ctx) as engine:
        store = FlowStore(engine)
        found = [_replayed(code, store, one) for one in store.open()]
    wrong = [one for one in found if one["told"] is not None]
    lines = [f"{one['id']}  {one['flow']} {one['version']}: {one['told']}" for one in wrong]
    lines.append(f"{len(found) - len(wrong)} open flows go on with this code, {len(wrong)} do not.")
    text = "\n".join(map(visible, lines))
    return Shown({"ok": not wrong, "flows": found}, text, ok=not wrong)


@flows.command(cls=Command)
@click.argument("run_id")
@click.pass_context
def replay(ctx: click.Context, run_id: str) -> Shown:
    """Replay a flow with this code, one that has ended too: set a breakpoint in it."""
    code = _flows(ctx.obj.app.agents_settings)
    with journal(ctx) as engine:
        store = FlowStore(engine)
        one = store.one(id_of(run_id))
        if one is None:
            raise NotFoundError(visible(f"There is no flow {run_id} in the journal."))
        found = _replayed(code, store, one)
    about = f"{found['flow']} {found['version']}, {found['lines']} lines"
    told = found["told"] or f"{about}: this code does the same."
    return Shown(found, visible(told), ok=found["told"] is None)


def _flows(settings: Settings) -> Flows:
    """Load the flows that the settings' modules and installed packages have; no agents."""
    see_current_directory()
    found = Flows()
    for module in settings.modules:
        found.add_module(import_module(module))
    for _name, module_of in loaded(plugins_of(settings), "agents"):
        if isinstance(module_of, ModuleType):
            found.add_module(module_of)
    return found


def _replayed(code: Flows, store: FlowStore, one: OpenFlow) -> dict[str, Any]:
    """Replay one flow; ``told`` says why it would be parked."""
    request = Flow.from_message(one.payload["args"], one.payload["kwargs"], known=True)
    history = [Line.of(told.kind, told.data) for told in store.history(one.tenant, one.id)]
    version = history[0].value["version"] if history else request.version
    found = {"id": one.id, "flow": request.flow, "version": version, "lines": len(history)}
    try:
        _, function = code.get(request.flow, version)
        instance = begun(function, one.id, request.input, history)
    except (UnknownFlowError, FlowError) as error:
        return found | {"told": error.message}
    told = None if instance.difference is None else str(instance.difference)
    dropped(instance)
    return found | {"told": told}
