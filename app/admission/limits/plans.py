"""Wants of requests, planned once for an agent and a tenant: only tokens differ by request."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from agents.governance.limits import Rate, ToldRate
from agents.governance.wants import Wanted, used
from agents.needs import Needs
from app.admission.limits.wires import wire

#: Plans are remembered of so many agents and tenants.
KNOWN = 1_000


class Plan:
    """The wants of an agent's requests, and their text, but for the tokens that each one takes."""

    def __init__(self, wants: Sequence[Wanted]) -> None:
        self._wants = [*wants]
        self._texts = [json.dumps(wire(one.want)) for one in wants]
        counted = [place for place, one in enumerate(wants) if one.what not in {None, "requests"}]
        #: Of those that count tokens, the text up to the cost, which is its end.
        self._counted = [(n, self._texts[n].rpartition(" ")[0]) for n in counted]

    def of(self, needs: Needs) -> tuple[tuple[Wanted, ...], str]:
        """The wants of one request, and those as the scripts read them."""
        wants, texts = self._wants, self._texts
        if self._counted:
            wants, texts = [*wants], [*texts]
            for place, text in self._counted:
                one = wants[place]
                assert isinstance(one.want, Rate | ToldRate)
                assert one.what is not None
                cost = used(one.what, needs)
                wants[place] = Wanted(one.limit, replace(one.want, cost=cost), one.what)
                texts[place] = f"{text} {cost}]"
        return tuple(wants), f"[{','.join(texts)}]"


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
