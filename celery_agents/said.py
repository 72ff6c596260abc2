"""Options on the command line of ``celery`` itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.core import ParameterSource

from celery_agents.errors import ConfigurationError


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


@contextmanager
def said_to_commands() -> Iterator[None]:
    """Have the command line say what is wrong with the configuration, in one line.

    Raises:
        SystemExit: ``celery`` itself runs, which would show where in our code it was raised.
        ConfigurationError: another program does.
    """
    try:
        yield
    except ConfigurationError as error:
        if is_command():
            raise SystemExit(f"{error.kind}: {error}") from None
        raise


def _root() -> click.Context | None:
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    from celery.bin.celery import celery

    root = context.find_root()
    return root if root.command is celery else None
