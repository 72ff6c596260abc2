from __future__ import annotations

import pytest

from agents.plan import Expand, JoinPolicy, within


@pytest.mark.parametrize(
    ("timeout_s", "left_s", "then"),
    [
        (None, None, None),
        (5, None, 5),
        (None, 7, 7),
        (5, 7, 5),
        (7, 5, 5),
        (7, 0, 0),
        (None, 0.1, 0.1),
    ],
)
def test_a_join_waits_no_longer_than_there_is_time(
    timeout_s: float | None, left_s: float | None, then: float | None
) -> None:
    plan = Expand(join=JoinPolicy(kind="first", timeout_s=timeout_s, keep=True), note={"a": 1})
    limited = within(plan, left_s)
    assert limited.join == JoinPolicy(kind="first", timeout_s=then, keep=True)
    assert limited.note == {"a": 1}
