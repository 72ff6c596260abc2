"""Engines of one kind that share what SQLAlchemy learns of a statement: a process has one in use.

Tests make hundreds, one after another, and each would put all its statements together anew: that
took most of the time of a test of the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, cast

from sqlalchemy import Engine

from app.journal.schema import engine as schema


@cache
def share() -> None:
    """Have the engines of the journal share it, in this process and its forks."""
    schema._postgres = _sharing(schema._postgres)
    schema._sqlite = _sharing(schema._sqlite)


def _sharing(make: Callable[..., Engine]) -> Callable[..., Engine]:
    earlier: list[Engine] = []  # until one of them has met its server

    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> Engine:
        engine = make(*args, **kwargs)
        if (first := next(filter(_has_met_its_server, earlier), None)) is None:
            earlier.append(engine)
        else:
            earlier[:] = [first]
            # It knows what its pool did lately.
            cast("Any", first.dialect).do_ping = engine.dialect.do_ping
            # Its pool keeps its own: that tells connections apart.
            engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
        return engine

    return made


def _has_met_its_server(engine: Engine) -> bool:
    """Return whether its dialect knows the version of the server, which it is asked for once."""
    return engine.dialect.server_version_info is not None
