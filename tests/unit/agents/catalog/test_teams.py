"""What follows from who asks whom."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.catalog.teams import effects_of, refuse_circles
from celery_agents.agent import Effects
from celery_agents.errors import ConfigurationError

NAMES = "abcdef"
#: Who asks whom, in any way.
ASKS = st.fixed_dictionaries({n: st.lists(st.sampled_from(NAMES), max_size=3) for n in NAMES})


def reaches(asks: dict[str, list[str]], name: str) -> set[str]:
    """All whom it asks, directly or by others, itself only in a circle."""
    found: set[str] = set()
    for _ in asks:
        found |= {to for one in [name, *found] for to in asks[one]}
    return found


@given(ASKS)
def test_circles_are_found_and_told(asks: dict[str, list[str]]) -> None:
    if not any(name in reaches(asks, name) for name in asks):
        refuse_circles(asks)
        return
    with pytest.raises(ConfigurationError) as raised:
        refuse_circles(asks)
    way = raised.value.message.split("tools: ")[1].removesuffix(" is a circle.").split(" → ")
    assert way[0] == way[-1]
    assert all(to in asks[one] for one, to in pairwise(way))


@given(ASKS, st.fixed_dictionaries({n: st.sampled_from(["pure", "effect"]) for n in NAMES}))
def test_an_agent_has_the_effects_of_all_whom_it_may_ask(
    asks: dict[str, list[str]], own: dict[str, Effects]
) -> None:
    for name in asks:
        has = any(own[one] == "effect" for one in {name, *reaches(asks, name)})
        assert effects_of(name, own, asks) == ("effect" if has else "pure")


def test_a_long_line_of_agents_is_no_deep_recursion() -> None:
    asks = {str(n): [str(n + 1)] for n in range(5_000)} | {"5000": []}
    refuse_circles(asks)
    own: dict[str, Effects] = dict.fromkeys(asks, "pure")
    assert effects_of("0", own | {"5000": "effect"}, asks) == "effect"
