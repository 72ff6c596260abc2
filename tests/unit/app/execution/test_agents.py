from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.execution.runtime import Runtime


def breakers() -> int:
    return sum(thread.name == "agents-admission" for thread in threading.enumerate())


def test_who_asks_no_agent_has_no_breakers(runtime: Runtime) -> None:
    """Those who ask share one set of them."""
    before = breakers()
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda _: runtime.agents.turns, range(50)))
    assert len(set(map(id, turns))) == 1
    assert breakers() == before + 1
