"""What one consumer holds of tenants' messages."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from app.messaging import sharing
from app.messaging.sharing import Holdings, Sharing, due_at


@pytest.mark.parametrize(
    ("eta", "found"),
    [
        ("2026-11-28T12:00:00+00:00", 1_795_867_200.0),
        ("2026-11-28T13:00:00+01:00", 1_795_867_200.0),
        ("2026-11-28T12:00:00", 1_795_867_200.0),  # of UTC, as Celery sends it
        ("2026-11-28T12:00:00.5Z", 1_795_867_200.5),
        ("soon", None),
        (7, None),
        (None, None),
    ],
)
def test_when_a_message_is_due(eta: object, found: float | None) -> None:
    assert due_at(eta) == found


class Told:
    """A client whose script notes what it is told."""

    def __init__(self) -> None:
        self.later: list[dict[str, float]] = []
        self.uses: list[list[Any]] = []

    def register_script(self, _text: str) -> Any:
        def run(*, keys: list[str], args: list[Any]) -> int:
            self.uses.append(json.loads(args[3]))
            self.later.append(dict(json.loads(args[4])))
            return len(keys)

        return run


def test_what_is_held_for_later_is_told_once_and_measured_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    clock = SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic)
    monkeypatch.setattr(sharing, "time", clock)
    holdings, told = Holdings(), Told()
    of = Sharing(slots=SimpleNamespace(meter=None))
    for tag, at in (("1.q\na", 1005.0), ("2.q\na", 1009.0), ("3.q\na", 999.0), ("4.q\na", None)):
        holdings.taken(tag, of, at)
    holdings.ended("2.q\na")
    assert {*holdings._held._since} == {"3.q\na", "4.q\na"}
    for later in ({"1.q\na": 1005.0}, {}, {}):
        holdings.tend(told, "index", of, ("me", 7.0, ["q"]))
        assert told.later[-1] == later
        now[0] += 3
    assert {*holdings._held._since} == {"1.q\na", "3.q\na", "4.q\na"}
