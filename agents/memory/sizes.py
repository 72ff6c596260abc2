"""Sizes of memories in tokens, by nothing that an agent has learned: all share their spaces."""

from __future__ import annotations

from agents.governance.pieces import pieces
from agents.governance.sizes import UNLEARNED
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.errors import PayloadTooLargeError


def tokens_of(text: str, policy: MemoryPolicy) -> int:
    """The tokens of a text that is to be kept; none of no text.

    Raises:
        PayloadTooLargeError: they are more than the whole space has room for.
    """
    tokens = UNLEARNED.likely(pieces(text)) if text else 0
    if tokens > policy.capacity_tokens:
        raise PayloadTooLargeError(
            f"A memory of {tokens:,} tokens does not fit: capacity_tokens = "
            f"{policy.capacity_tokens:,}."
        )
    return tokens
