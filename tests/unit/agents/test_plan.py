from __future__ import annotations

from typing import Any

from agents.plan import Expand, Member, streamed


def member(key: str, options: dict[str, Any], *, waits: bool = False) -> Member:
    return Member(key=key, task="t", input=1, options=options, waits=waits)


def test_members_are_streamed_as_their_pattern_is() -> None:
    options: dict[str, Any] = {"agent": "a"}
    plan = Expand(members=(member("1", options), member("2", options)))
    told = streamed(plan)
    assert [m.options for m in told.members] == 2 * [{"agent": "a", "stream": True}]
    assert [m.key for m in told.members] == ["1", "2"]
    assert plan.members[0].options == {"agent": "a"}


def test_a_person_tells_nothing() -> None:
    wish = member("w", {"tool": "pay"}, waits=True)
    assert streamed(Expand(members=(wish,))).members == (wish,)
