"""The order of options that the rule finds level."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from celery_agents.contracts.vote import Seeded, StatedOrder, VotePolicy

#: Stands for any option that no ballot has named yet. It comes first in every order, since
#: some name that is still unwritten may.
UNSEEN = ""


def in_tie_order(policy: VotePolicy, options: Iterable[str]) -> tuple[str, ...]:
    """Options in the order in which ties fall to them; independent of voters and ballots."""
    stated = {option: place for place, option in enumerate(policy.choices or ())}

    def place(option: str) -> tuple[int, bytes, str]:
        if option == UNSEEN:
            return (-1, b"", "")
        if isinstance(policy.tie, Seeded):
            lot = hashlib.sha256(f"{policy.tie.seed}\0{option}".encode()).digest()
            return (0, lot, option)
        return (stated.get(option, len(stated)), b"", option)

    return tuple(sorted(options, key=place))


def breaks_ties(policy: VotePolicy) -> bool:
    """Return whether the policy settles a tie by itself."""
    return isinstance(policy.tie, StatedOrder | Seeded)
