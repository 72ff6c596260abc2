"""Giving no more than one has: each field of a key is held against that of whoever gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType

from app.access.permissions import ROLES, Permission, Principal

Within = Callable[[Principal, Principal], bool]


def _permissions(who: Principal) -> frozenset[Permission]:
    return ROLES[who.role] | who.permissions


def _may_no_more(given: Principal, own: Principal) -> bool:
    return _permissions(given) <= _permissions(own)


def _most(name: str) -> Within:
    """A rule for a limit, which may be none: it is no higher."""

    def within(given: Principal, own: Principal) -> bool:
        wanted, most = getattr(given, name), getattr(own, name)
        return most is None or (inf if wanted is None else wanted) <= most

    return within


def _asks_no_others(given: Principal, own: Principal) -> bool:
    if own.agents is None:
        return True
    return given.agents is not None and set(given.agents) <= set(own.agents)


#: By the fields of a principal: whether what is given is within one's own, and what to say else.
#: Each field stands here (a test holds that), so a new one is decided about before it can be given.
WITHIN: Mapping[str, tuple[Within, str]] = MappingProxyType(
    {
        "id": (lambda _given, _own: True, ""),
        "role": (_may_no_more, "do no more"),
        "permissions": (_may_no_more, "do no more"),
        "tenant": (lambda given, own: own.sees(given.tenant), "see no other tenants"),
        "agents": (_asks_no_others, "ask no other agents"),
        "requests_per_s": (_most("requests_per_s"), "make no more requests_per_s"),
        "runs_per_s": (_most("runs_per_s"), "start no more runs_per_s"),
        "ends_at": (_most("ends_at"), "last no longer (expires_s)"),
    }
)


def beyond(given: Principal, own: Principal) -> list[str]:
    """Say what a principal would have that another one has not; nothing of its own key."""
    if given.id == own.id:
        return []
    told = [words for within, words in WITHIN.values() if not within(given, own)]
    return list(dict.fromkeys(told))
