"""Limits and waits as the scripts of Redis write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agents.governance.limits import Concurrency, Pause, Rate, Start, ToldRate, Want
from agents.governance.wants import Wanted

#: What lasts longer ends nobody knows when.
LONG_S = 365 * 24 * 3600.0


def seconds_of(ms: int) -> float | None:
    """Return a wait in seconds; None: nobody knows."""
    return ms / 1000 if 0 <= ms < LONG_S * 1000 else None


def as_json(wants: Sequence[Wanted]) -> str:
    """Wants as the scripts read them."""
    return json.dumps(wires(wants))


def wires(wants: Sequence[Wanted]) -> list[list[Any]]:
    """Wants as lists, which the scripts read in JSON."""
    return [wire(one.want) for one in wants]


def wire(want: Want) -> list[Any]:
    """One of them."""
    match want:
        case Pause():
            return ["P", want.key]
        case Concurrency():
            return ["S", want.key, want.most]
        case Start():
            return ["U", want.key, want.source]
        case Rate():
            return ["R", want.key, want.burst_ms, want.unit_ms, want.cost]
        case ToldRate():
            return ["L", want.key, want.source, want.what, want.burst_s, want.cost]
