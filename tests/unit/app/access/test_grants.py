"""Nobody gives more than he has: each field of a key, against what it is meant to hold."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.operations import KeyBody
from app.access.grants import WITHIN, beyond
from app.access.keys import new_key, principal_of
from app.access.permissions import ROLES, Permission, Principal, Role

LIMITS = st.none() | st.integers(1, 5)
ENDS = st.none() | st.floats(1, 5)
AGENTS = st.none() | st.lists(st.sampled_from(["a", "b*", "*"]), max_size=3).map(tuple)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.just("own"),
    "role": st.sampled_from(Role),
    "tenant": st.sampled_from([None, "", "acme"]),
    "agents": AGENTS,
    "permissions": st.frozensets(st.sampled_from(Permission), max_size=3),
    "requests_per_s": LIMITS,
    "runs_per_s": LIMITS,
    "ends_at": ENDS,
}
PRINCIPALS = st.builds(Principal, **FIELDS)
#: Of a key that is to be made; its name is no power, and a time is one of its end.
BODY = {"name": None, "expires_s": "ends_at"}


def test_each_field_is_decided_about() -> None:
    """A new field of a key or of a principal fails here until somebody has decided."""
    assert set(WITHIN) == {field.name for field in fields(Principal)} == set(FIELDS)
    told = {BODY.get(name, name) for name in KeyBody.model_fields} - {None}
    assert told <= set(WITHIN)
    given_all = {
        "agents": ["a"],
        "permissions": ["keys:read"],
        "requests_per_s": 1,
        "runs_per_s": 1,
    }
    _, row = new_key("x", Role.USER, tenant="acme", by="y", grants=given_all)
    read = principal_of({**row, "expires_at": 1.0})
    bare = Principal(id="z", role=Role.SERVICE, tenant=None)
    assert [
        f.name for f in fields(Principal) if getattr(read, f.name) == getattr(bare, f.name)
    ] == []


@given(PRINCIPALS, st.sampled_from(sorted(set(FIELDS) - {"id"})), st.data())
def test_what_differs_is_within_or_refused(own: Principal, name: str, drawn: Any) -> None:
    """Of keys that differ in one field, by a rule that is written down here once more."""
    other = replace(own, id="other", **{name: drawn.draw(FIELDS[name])})
    assert beyond(replace(own, id="other"), own) == []
    a, b = getattr(other, name), getattr(own, name)
    if name in {"role", "permissions"}:
        more = not ROLES[other.role] | other.permissions <= ROLES[own.role] | own.permissions
    elif name == "tenant":
        more = b is not None and a != b
    elif name == "agents":
        more = b is not None and (a is None or not {*a} <= {*b})
    else:
        more = b is not None and (a is None or a > b)
    assert bool(beyond(other, own)) == more


@given(PRINCIPALS, PRINCIPALS, PRINCIPALS)
def test_no_chain_of_keys_wins_anything(a: Principal, b: Principal, c: Principal) -> None:
    """What a key may give to one, which gives it to another, it may give itself."""
    b, c = replace(b, id="b"), replace(c, id="c")
    if not beyond(b, a) and not beyond(c, b):
        assert beyond(c, a) == []


@given(PRINCIPALS)
def test_ones_own_key_is_ones_own(who: Principal) -> None:
    assert beyond(who, who) == []


@pytest.mark.parametrize("role", Role)
def test_an_admin_of_all_may_give_anything(role: Role) -> None:
    chief = Principal(id="x", role=Role.ADMIN, tenant=None)
    assert beyond(Principal(id="y", role=role, permissions=frozenset(Permission)), chief) == []
