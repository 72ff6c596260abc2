"""What one message may become in the journal: rows share options, or hold the rest of a chain."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agents.patterns.plan import Expand
from celery_agents.errors import PayloadTooLargeError

#: So few members cannot hold more than the limit is.
_FEW = 100


def check_members(plan: Any, limit: int) -> None:
    """Check what the members of a plan have in common, which stands in the row of each.

    Raises:
        PayloadTooLargeError: together it is more than the limit.
    """
    if not isinstance(plan, Expand) or len(plan.members) <= _FEW:
        return
    known = {id(member.options): member.options for member in plan.members}
    times = Counter(id(member.options) for member in plan.members)
    size = sum(len(json.dumps(options)) * times[at] for at, options in known.items())
    if size > limit:
        raise PayloadTooLargeError(
            f"The options of {len(plan.members):,} members would take {size:,} bytes together, the "
            f"limit is {limit:,} (spread_limit_bytes). Shorten what they have in common, keep it "
            "with the agent, or map fewer inputs at a time."
        )


def following(request: Mapping[str, Any]) -> list[Any]:
    """What follows a step, as its message says: chain, callbacks of both kinds, chord."""
    told = (request.get(name) for name in ("chain", "callbacks", "errbacks", "chord"))
    return [value for value in told if value]


def check_chain(chain: Sequence[Any] | None, size: int, limit: int) -> None:
    """Check a chain whose links each hold the rest of it, where all of it has ``size`` bytes.

    Raises:
        PayloadTooLargeError: together that is more than the limit.
    """
    links = len(chain or ())
    spread = links * size // 2
    if spread > limit:
        raise PayloadTooLargeError(
            f"A chain of {links:,} links and {size:,} bytes would take {spread:,} bytes: each link "
            f"holds the rest; the limit is {limit:,} (spread_limit_bytes). Make it shorter, or "
            "several."
        )
