from __future__ import annotations

import uuid
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.journal.schema.models import ID
from app.journal.schema.rows import derived_id


@given(st.text(max_size=20), st.text(max_size=20))
def test_ids_are_derived_and_fit(parent: str, key: str) -> None:
    made = derived_id(parent, key)
    assert made == derived_id(parent, key)
    assert len(made) <= (ID.length or 0)


def test_ids_differ() -> None:
    found = {derived_id(p, k) for p in ("a", "b", "a/a") for k in ("a", "b", "c")}
    assert len(found) == 9
    chain = ["root"]
    for _ in range(50):
        chain.append(derived_id(chain[-1], "same"))
    assert all(a != b for a, b in pairwise(chain))


def test_ids_stay_what_they_are() -> None:
    """A worker of the next version must find the members that this one made."""
    assert derived_id("run", "voter") == "7a19ef9b-9049-5702-8b05-8fdf65428c2f"
    root = "01a1fa0f-096f-730b-9dfa-ef56cb551046"
    assert derived_id(root, "voter") == "01a1fa0f-096f-816d-94ef-0fb197a8b9e8"


@given(st.uuids(), st.text(max_size=20))
def test_members_stand_beside_their_parent(parent: uuid.UUID, key: str) -> None:
    made = uuid.UUID(derived_id(str(parent), key))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert str(made)[:13] == str(parent)[:13]
