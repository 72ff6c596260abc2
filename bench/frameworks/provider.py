"""The models of a team, and the till: what each run was paid for, and what was under way."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace

from tests.fakes.model_server import Does, ModelServer, Seen

EXPERTS = 3
#: Two requests of the lead, and two of each expert.
NEEDED = 2 + 2 * EXPERTS
#: Seconds that a request takes.
TAKES_S = (0.1, 0.5)


class Till(ModelServer):
    """Plays a lead that asks three at once, each of which uses a tool; counts requests."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self.paid: Counter[str] = Counter()
        self.bodies_of: defaultdict[str, set[str]] = defaultdict(set)  # by idempotency key
        self.told: dict[str, float] = {}  # when it was first told what a tool had found, by topic
        self._rng = random.Random(seed)
        self._counting = threading.Lock()
        self._open: set[int] = set()
        self._numbers = 0

    def under_way(self) -> set[int]:
        """The requests that have no answer yet."""
        with self._counting:
            return set(self._open)

    def next(self, seen: Seen) -> Does:
        """Take the money, then the time."""
        told = seen.body["messages"]
        topic = next(str(m["content"]) for m in told if m["role"] == "user")
        results = [m for m in told if m["role"] == "tool"]
        with self._counting:
            self._numbers += 1
            number = self._numbers
            self._open.add(number)
            if results:
                self.told.setdefault(topic, time.time())
            self.paid[topic.partition("/")[0]] += 1
            if key := seen.headers.get("idempotency-key"):
                self.bodies_of[key].add(json.dumps(seen.body, sort_keys=True))
            takes_s = self._rng.uniform(*TAKES_S)
        time.sleep(takes_s)
        with self._counting:
            self._open.discard(number)
        return replace(_said(topic, results), turn=f"{topic.replace('/', '_')}_{number}_")


def _said(topic: str, results: list[object]) -> Does:
    if results:
        return Does(text=f"{topic}: {len(results)} results")
    if "/" in topic:
        return Does(tool=("look_up", {"about": topic}))
    asked = (("delegate", {"input": f"{topic}/{n}"}) for n in range(EXPERTS))
    return Does(tools=tuple(asked))
