"""Whatever stands in a queue is a task that Celery can read, or a dead letter, and soon.

``AGENTS_FUZZ_CASES=20000`` sets how many cases there are.
"""

from __future__ import annotations

import base64
import json
import os
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cpu import soon
from tests.support.raw_messages import message, raw_message, take

CASES = int(os.environ.get("AGENTS_FUZZ_CASES", "1000"))
#: Seconds of CPU that one message may take of the worker's only reader.
MOST_S = 0.2


@settings(max_examples=CASES, deadline=None)
@given(st.integers(0, 2**64))
def test_any_message_is_a_task_or_a_dead_letter(seed: int) -> None:
    raw = raw_message(random.Random(seed))
    soon(lambda: take(raw), MOST_S)


def test_the_cases_are_of_both_kinds() -> None:
    found = [take(raw_message(random.Random(seed))) for seed in range(500)]
    assert 50 < found.count("task") < 450
    assert {"not_json", "bad_headers", "bad_body", "bad_envelope"} <= {*found}


def test_a_right_one_is_a_task() -> None:
    right = message(random.Random(1), "agents.ask", ["x"], {"agent": "noop"})
    right["body"] = base64.b64encode(json.dumps(right["body"]).encode()).decode()
    assert take(json.dumps(right).encode()) == "task"
