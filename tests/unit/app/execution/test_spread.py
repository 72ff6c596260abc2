from __future__ import annotations

import pytest

from agents.patterns.plan import Expand, Member
from app.execution.spread import check_chain, check_members, following
from celery_agents.errors import PayloadTooLargeError

KB, MB = 1024, 1024 * 1024


def plan(count: int, options_bytes: int) -> Expand:
    options = {"agent": "a", "instructions": "i" * options_bytes}
    first = Member(key="", task="agents.ask", input=0, options=options)
    return Expand(members=tuple(first.model_copy(update={"key": str(n)}) for n in range(count)))


@pytest.mark.parametrize(
    ("count", "options_bytes", "fits"),
    [
        (1_500, 150_000, False),  # 225 MB of one message of 153 kB
        (100_000, 700, False),
        (10_000, 7_000, False),
        (100, 250_000, True),
        (1_500, 20_000, True),
        (100_000, 300, True),
        (0, 0, True),
    ],
)
def test_what_members_have_in_common_has_a_limit(
    count: int, options_bytes: int, fits: bool
) -> None:
    if fits:
        check_members(plan(count, options_bytes), 64 * MB)
    else:
        with pytest.raises(PayloadTooLargeError, match="spread_limit_bytes"):
            check_members(plan(count, options_bytes), 64 * MB)


def test_members_with_options_of_their_own_are_added_up() -> None:
    members = tuple(
        Member(key=str(n), task="agents.ask", input=0, options={"x": "y" * 1_000})
        for n in range(200)
    )
    with pytest.raises(PayloadTooLargeError):
        check_members(Expand(members=members), 200_000)
    check_members(Expand(members=members), 210_000)
    check_members("no plan", 0)


@pytest.mark.parametrize(
    ("links", "size", "fits"),
    [
        (3_000, 400 * KB, False),
        (2_000, 250 * KB, False),
        (400, 120 * KB, True),
        (0, 250 * KB, True),
    ],
)
def test_a_chain_that_is_stored_again_and_again(links: int, size: int, fits: bool) -> None:
    if fits:
        check_chain([{}] * links, size, 64 * MB)
    else:
        with pytest.raises(PayloadTooLargeError, match="each link"):
            check_chain([{}] * links, size, 64 * MB)


def test_what_follows_is_what_the_message_says() -> None:
    assert following({}) == []
    told = {"chain": [1], "callbacks": [2], "errbacks": None, "chord": {"a": 3}, "id": "x"}
    assert following(told) == [[1], [2], {"a": 3}]
    assert check_chain(None, 10**9, 1) is None
