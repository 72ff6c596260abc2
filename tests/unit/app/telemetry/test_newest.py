from __future__ import annotations

from app.telemetry.newest import Newest


def test_only_the_newest_are_remembered() -> None:
    found = Newest[int](3)
    for number, key in enumerate(("a", "b", "b", "c", "d", "e")):
        found.put(key, number)
    assert [key for key in "abcde" if key in found] == ["c", "d", "e"]
    assert (found.get("e"), found.get("a"), found.get(None)) == (5, None, None)
