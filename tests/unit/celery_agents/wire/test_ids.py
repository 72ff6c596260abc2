from __future__ import annotations

import time
import uuid

from celery_agents.wire.ids import new_id


def test_ids_are_uuids_of_version_7_and_begin_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_differ_and_later_ones_are_greater() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
    first = new_id()
    time.sleep(0.002)
    assert first < new_id()


def test_the_fraction_of_the_millisecond_orders_too() -> None:
    made = []
    for _ in range(5):
        made.append(new_id())
        time.sleep(0.0001)
    assert made == sorted(made)
