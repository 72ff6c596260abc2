"""The parts of a message that go on to what follows its step, and their limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_agents.errors import PayloadTooLargeError


def following(request: Mapping[str, Any]) -> list[Any]:
    """List what follows a step, as its message says: chain, callbacks of both kinds, chord."""
    told = (request.get(name) for name in ("chain", "callbacks", "errbacks", "chord"))
    return [value for value in told if value]


def check_chain(chain: Sequence[Any] | None, size: int, limit: int) -> None:
    """Check a chain whose links each hand on the rest of it, where all of it has ``size`` bytes.

    Raises:
        PayloadTooLargeError: together that is more than the limit.
    """
    links = len(chain or ())
    spread = links * size // 2
    if spread > limit:
        raise PayloadTooLargeError(
            f"A chain of {links:,} links and {size:,} bytes would write {spread:,} bytes, as each "
            f"link hands on the rest; the limit is {limit:,} (spread_limit_bytes). "
            "Make it shorter, or several."
        )
