"""Acts of people, written down before they are done: by control tasks, by commands."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from app.execution.runtime import Runtime, runtime_of
from app.journal.stores.audit import AuditLog
from app.journal.tables.audit import Act
from app.settings import Settings
from celery_agents import names
from celery_agents.client.control import who
from celery_agents.wire.shown import HIDDEN


def recorded(task: Any, action: str, target: str = "", tenant: str = "", **data: Any) -> Runtime:
    """Write down what a control task is about to do; the runtime to do it with.

    Raises:
        JournalUnavailableError: it cannot be written down, so it is not done.
    """
    runtime = runtime_of(task.app, task.request.hostname)
    if runtime.seals is not None and "choice" in data:  # it is an answer, as an agent's would be
        data["choice"] = HIDDEN
    runtime.audit.record(Act(actor_of(task.request), action, target, tenant, data))
    return runtime


def actor_of(request: Any) -> str:
    """The actor that a message names, or its sender."""
    return str(request.get(names.ACTOR) or request.get("origin") or "unknown")


def record_command(
    engine: Engine, settings: Settings, action: str, target: str = "", **data: Any
) -> None:
    """Write down what a command is about to do.

    Raises:
        JournalUnavailableError: it cannot be written down, so it is not done.
    """
    act = Act(who(), action, target, data={**data, "by": "command"})
    AuditLog(engine, settings.audit_anchor).write([act])
