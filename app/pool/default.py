"""Which pool a worker has when its command line names none: the one made for waiting."""

from __future__ import annotations

from typing import Any

import click
from celery.app.defaults import DEFAULT_POOL
from celery.concurrency import get_implementation
from click.core import ParameterSource

from app.layout import qualified

COROUTINES = qualified("app.pool:CoroutinePool")


def choose_pool(sender: Any = None, **_: Any) -> None:
    """Celery's default is prefork, in which each waiting call holds a process."""
    settings = getattr(sender.app, "agents_settings", None)
    context = click.get_current_context(silent=True)
    if settings is None or context is None:
        return  # another app's worker, or one that a program made as it wants it
    by_default = context.get_parameter_source("pool") is ParameterSource.DEFAULT
    if by_default and sender.app.conf.worker_pool == DEFAULT_POOL:
        sender.pool_cls = get_implementation(COROUTINES)
    ours = sender.pool_cls is get_implementation(COROUTINES)
    if ours and not context.params.get("concurrency"):
        sender.concurrency = settings.concurrency
