"""Wants of requests, planned once for an agent and a tenant: only tokens differ by request."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from agents.governance.limits import Concurrency, Rate, Start, ToldRate, Want
from agents.governance.wants import Wanted, corrections, used
from agents.needs import Needs
from app.admission.limits.wires import wire

#: Plans are remembered of so many agents and tenants.
KNOWN = 1_000
_SLOTS = (Concurrency, Start)


class Plan:
    """The wants of an agent's requests, and their text, but for the tokens that each one takes.

    Args:
        wants: those of any such request; the tokens that they count are looked at anew each time.
    """

    def __init__(self, wants: Sequence[Wanted]) -> None:
        self._wants = tuple(wants)
        #: They as the scripts read them; what ``costs`` says of a request goes before.
        self.text = json.dumps([wire(one.want) for one in wants])
        #: Those that count tokens.
        self._counted = [
            (place, what)
            for place, what in enumerate(one.what for one in wants)
            if not (what is None or what == "requests")
        ]
        #: By how much costs are wrong of a request that was made, and of one that was not, but for
        #: tokens.
        self._made, self._unmade = corrections(wants, Needs()), corrections(wants, None)
        #: The keys under which slots are held.
        self.held = tuple(key_of(one.want) for one in wants if isinstance(one.want, _SLOTS))

    @property
    def counts_tokens(self) -> bool:
        """True when it matters how many tokens a request takes."""
        return bool(self._counted)

    def wants(self, needs: Needs) -> tuple[Wanted, ...]:
        """The wants of one request."""
        if not self._counted:
            return self._wants
        wants = [*self._wants]
        for place, what in self._counted:
            one = wants[place]
            wants[place] = Wanted(one.limit, _costing(one.want)(used(what, needs)), what)
        return tuple(wants)

    def costs(self, needs: Needs) -> str:
        """The tokens that one request takes: places of wants from 1, each with its cost."""
        return " ".join([f"{place + 1} {used(what, needs)}" for place, what in self._counted])

    def wrong(self, needs: Needs, real: Needs | None) -> list[int]:
        """By how much each want's cost was wrong, as :func:`corrections` says it."""
        found = [*(self._unmade if real is None else self._made)]
        for place, what in self._counted:
            found[place] = (0 if real is None else used(what, real)) - used(what, needs)
        return found


def key_of(want: Want) -> str:
    """The key under which a slot is held."""
    return f"{'S' if isinstance(want, Concurrency) else 'U'}:{want.key}"


def _costing(want: Want) -> Callable[[int], Want]:
    """Return what makes the same want of another cost."""
    match want:
        case Rate():
            return partial(Rate, want.key, want.burst_ms, want.unit_ms)
        case ToldRate():
            return partial(ToldRate, want.key, want.source, want.what, want.burst_s)
        case _:
            raise TypeError(f"{want} costs nothing")


class Plans:
    """The newest plans, by what they are for; None: each run needs one of its own."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Plan | None] = {}

    def of(self, key: Hashable, wanted: Callable[[], Sequence[Wanted] | None]) -> Plan | None:
        """A plan; one that is not known is made of the wants of a request without tokens."""
        try:
            return self._known[key]
        except KeyError:
            wants = wanted()
        if len(self._known) >= KNOWN:
            self._known.clear()
        found = self._known[key] = None if wants is None else Plan(wants)
        return found
