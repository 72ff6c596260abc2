"""What the command line of ``celery`` says itself."""

from __future__ import annotations

import click
from click.core import ParameterSource


def said(option: str) -> str | None:
    """The value of a global option; None where the command line does not have it.

    Celery also takes its options from variables that are other programs' too (``BROKER_URL``,
    ``RESULT_BACKEND``), and hands all of them on as if they had been said.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    from celery.bin.celery import celery

    root = context.find_root()
    if root.command is not celery:
        return None
    if root.get_parameter_source(option) is not ParameterSource.COMMANDLINE:
        return None
    value: str = root.params[option]
    return value
