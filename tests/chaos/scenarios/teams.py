"""Agents that ask agents, whose workers die: what was paid for is not paid again."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from typing import Any

from app.journal.schema.models import Step
from tests.chaos.agents import BEGAN
from tests.chaos.audit import audit
from tests.chaos.models import offered
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, eventually, kept_running
from tests.fakes.model_server import Does, ModelServer, Seen

#: Runs that are under way together, on so many workers, of which one is killed at a time.
TOGETHER, WORKERS = 10, 3
#: The run that nobody disturbs.
CALM = "calm"
KILLS = 4
#: Seconds before a kill, and of a request: a run lasts longer than its four kills take.
PAUSE_S, TAKES_S = (0.2, 1.6), (0.3, 1.2)
EXPERTS = 3
#: Two requests of the lead, and two of each expert.
NEEDED = 2 + 2 * EXPERTS
#: Each of them uses a tool.
TOOLS = 1 + EXPERTS
LOOK = "tests.chaos.agents:looks_up"


class Provider(ModelServer):
    """Says what both models say, by what they have been told; counts what it is paid for."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.paid: Counter[str] = Counter()  # by run
        self.requests_of: defaultdict[str, set[str]] = defaultdict(set)  # by idempotency key
        self._rng = rng
        self._counting = threading.Lock()

    def next(self, seen: Seen) -> Does:
        """Take the money, then the time."""
        said = [message for message in seen.body["messages"] if message["role"] == "user"]
        about = str(said[0]["content"])
        with self._counting:
            self.paid[about.partition("/")[0]] += 1
            body = json.dumps(seen.body, sort_keys=True)
            self.requests_of[seen.headers["idempotency-key"]].add(body)
            takes_s = self._rng.uniform(*TAKES_S)
        time.sleep(takes_s)
        results = [m for m in seen.body["messages"] if m["role"] == "tool"]
        if results:
            return Does(text=f"{about}: {sorted(str(m['content']) for m in results)}")
        calls: list[tuple[str, dict[str, Any]]] = [("looks_up", {"what": about})]
        if seen.body["model"] == "lead":
            calls += [("ask_expert", {"input": f"{about}/{n}"}) for n in range(EXPERTS)]
        return Does(tools=tuple(calls))


@scenario("teams")
def teams(stand: Stand) -> Numbers:
    """A lead with three experts and tools, four SIGKILLs in each run but the first."""
    provider = Provider(stand.rng)
    runs, suffered = [], 0
    together = stand.size(TOGETHER, 4)
    with offered(stand, provider, lead=["agent:expert", LOOK], expert=[LOOK]):
        workers = stand.workers(WORKERS)
        with kept_running(workers):
            runs.append(stand.client.ask("lead", CALM, retry=PATIENT))
            stand.wait_ended(runs, again=False, timeout_s=120)
            for first in range(0, stand.size(100, together), together):
                some = [
                    stand.client.ask("lead", str(n), retry=PATIENT)
                    for n in range(first, first + together)
                ]
                for _ in range(KILLS):
                    time.sleep(stand.rng.uniform(*PAUSE_S))
                    eventually(lambda: any(worker.running for worker in workers))
                    stand.rng.choice([worker for worker in workers if worker.running]).kill()
                    suffered += stand.values(some).count(None)
                stand.wait_ended(some, again=False, timeout_s=120)
                runs += some
        kills = f"{suffered / len(runs):.2f}"
        return {"runs": len(runs), "kills_a_run": kills, **_check(stand, provider, runs)}


def _check(stand: Stand, provider: Provider, runs: list[Any]) -> dict[str, Any]:
    calm = provider.paid[CALM]
    assert calm == NEEDED, (
        f"{calm} requests were paid for a run that needs {NEEDED}, and saw no kill"
    )
    wrong = [value for value in stand.values(runs) if str(value).count("known") != TOOLS]
    assert not wrong, f"{len(wrong)} runs have a wrong outcome: {wrong[:2]}"
    assert len(stand.rows(Step.id)) == len(runs) * (1 + EXPERTS), "steps that nobody asked for"
    shared = sum(len(bodies) > 1 for bodies in provider.requests_of.values())
    assert not shared, f"{shared} keys were sent with two different requests"
    assert len(provider.requests_of) == len(runs) * NEEDED, "a request has had two keys"
    made = Counter(words[0] for words in stand.counted() if words[0] != BEGAN)
    assert len(made) == len(runs) * TOOLS, "a tool's call has had two keys"
    mean = provider.paid.total() / len(runs)
    assert mean <= NEEDED + KILLS, f"{mean:.2f} requests were paid for a run that needs {NEEDED}"
    # Only the tools are written down by those who are asked; of all calls the journal tells.
    figures = audit(stand)
    return {
        "needed": NEEDED,
        "paid_mean": f"{mean:.2f}",
        "paid_most": max(provider.paid.values()),
        "keys_of_two_requests": shared,
        "tools": len(made),
        "tools_in_flight_made_again": made.total() - len(made),
        "finished_and_made_again": figures["finished_and_made_again"],
    }
