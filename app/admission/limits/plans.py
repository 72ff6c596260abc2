"""Wants of requests, planned once for an agent and a tenant: only tokens differ by request."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from agents.governance.limits import Rate, ToldRate, Want
from agents.governance.wants import Wanted, used
from agents.needs import Needs
from app.admission.limits.wires import wire

#: Plans are remembered of so many agents and tenants.
KNOWN = 1_000


class Plan:
    """The wants of an agent's requests, and their text, but for the tokens that each one takes."""

    def __init__(self, wants: Sequence[Wanted]) -> None:
        self._wants = tuple(wants)
        self._texts = [json.dumps(wire(one.want)) for one in wants]
        self._text = f"[{','.join(self._texts)}]"
        #: Of those that count tokens, the text up to the cost, which is its end.
        self._counted = [
            (place, one, one.what, _costing(one.want), self._texts[place].rpartition(" ")[0])
            for place, one in enumerate(wants)
            if not (one.what is None or one.what == "requests")
        ]

    def of(self, needs: Needs) -> tuple[tuple[Wanted, ...], str]:
        """The wants of one request, and those as the scripts read them."""
        if not self._counted:
            return self._wants, self._text
        wants, texts = [*self._wants], [*self._texts]
        for place, one, what, costing, text in self._counted:
            cost = used(what, needs)
            wants[place] = Wanted(one.limit, costing(cost), what)
            texts[place] = f"{text} {cost}]"
        return tuple(wants), f"[{','.join(texts)}]"


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
    """The newest plans, by what they are for."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Plan] = {}

    def of(self, key: Hashable, wanted: Callable[[Needs], Sequence[Wanted]]) -> Plan:
        """A plan; one that is not known is made of the wants of a request without tokens."""
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            found = self._known[key] = Plan(wanted(Needs()))
        return found
