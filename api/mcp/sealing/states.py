"""Places that clients are given, and give back: sealed for one principal alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError

from api.mcp.callers import Caller

_MARK = 16


async def sealed(caller: Caller, run_id: str, about: Any, told: Mapping[str, str]) -> str:
    """The state by which a request like this one goes on with a run, its principal's alone.

    ``told``: the keys of the questions that came with it, by their names.
    """
    place = f"{run_id}.{'-'.join(mark(name, key) for name, key in told.items())}"
    return await with_seal(caller, place, about)


async def opened(caller: Caller, state: str, about: Any) -> tuple[str, frozenset[str]]:
    """The run of a state, and the marks of the questions that came with it.

    Raises:
        MCPError: somebody made it himself, or it is of another request.
    """
    place = await is_sealed(caller, state, about)
    if place is None:
        raise MCPError(types.INVALID_PARAMS, "requestState: it is none of this request.")
    run_id, _, marks = place.rpartition(".")
    return run_id, frozenset(marks.split("-"))


async def with_seal(caller: Caller, place: str, about: Any = None, sign: str = ".") -> str:
    """A text that only this principal can give back, with what it is about."""
    return f"{place}{sign}{await caller.services.seals.seal(_told(caller, place, about))}"


async def is_sealed(caller: Caller, told: str, about: Any = None, sign: str = ".") -> str | None:
    """The text below a seal of ``with_seal``; None: it is none of this principal's."""
    place, _, seal = told.rpartition(sign)
    known = await caller.services.seals.knows(_told(caller, place, about), seal)
    return place if known else None


def mark(name: str, key: str) -> str:
    """The mark of a question, by its name and key."""
    told = json.dumps([name, key])
    return hashlib.sha256(told.encode()).hexdigest()[:_MARK]


def _told(caller: Caller, place: str, about: Any) -> str:
    return json.dumps([caller.who.id, place, about], sort_keys=True, default=str)
