"""Options on the command line of ``celery`` itself."""

from __future__ import annotations

import click
from click.core import ParameterSource


def said(option: str) -> str | None:
    """The value of a global option; None where the command line does not have it.

    Celery also takes its options from variables that are other programs' too (``BROKER_URL``,
    ``RESULT_BACKEND``), and hands all of them on as if they had been said.
    """
    root = _root()
    if root is None or root.get_parameter_source(option) is not ParameterSource.COMMANDLINE:
        return None
    value: str = root.params[option]
    return value


def is_command() -> bool:
    """Return whether ``celery`` itself runs, and no program that uses an app."""
    return _root() is not None


def _root() -> click.Context | None:
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    from celery.bin.celery import celery

    root = context.find_root()
    return root if root.command is celery else None
