"""Seconds are summed up as they go by, whoever begins and ends."""

from __future__ import annotations

from app.concurrency.meter import Meter


def test_what_goes_on_counts_each_time() -> None:
    now = 0.0
    meter = Meter(lambda: now)
    meter.begin(1, "a")
    meter.begin(2, "b")
    now = 2.0
    meter.begin(3, "a")
    assert meter.drain() == {"a": 2.0, "b": 2.0}
    now = 3.0
    meter.end(1)
    meter.end(1)
    meter.end("never began")
    now = 5.0
    assert meter.drain() == {"a": 1.0 + 3.0, "b": 3.0}
    meter.end(2)
    meter.end(3)
    assert meter.drain() == {"a": 0.0, "b": 0.0}
    assert meter.drain() == {}
