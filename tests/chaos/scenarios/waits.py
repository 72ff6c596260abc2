"""Many runs that wait for a person: none holds a slot, and nothing of them is lost."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from celery_agents.contracts.approval import Wish
from tests.chaos.bank import BOOKS
from tests.chaos.models import offered
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, kept_running
from tests.fakes.model_server import Does, ModelServer, Seen

SLOTS = 2
#: Plain questions that are asked while all wait, and the seconds within which each is answered.
PLAIN, AT_ONCE_S = 10, 30.0


class Cashier(ModelServer):
    """A model that pays its input as an order, once."""

    def next(self, seen: Seen) -> Does:
        messages = seen.body["messages"]
        if messages[-1]["role"] == "tool":
            return Does(text=str(messages[-1]["content"]))
        return Does(tool=("pays", {"order": messages[-1]["content"], "cents": 1, "dies": ""}))


@scenario("waiting")
def waiting(stand: Stand) -> Numbers:
    """A thousand runs wait for a person at a worker of two slots, which is killed meanwhile."""
    cashier = Cashier()
    books = stand.stack.directory / "books"
    stand.stack.env[BOOKS] = str(books)
    count = stand.size(1000, 12)
    with offered(stand, cashier, cashier=["tests.chaos.bank:pays"]):
        worker = stand.worker(slots=SLOTS)
        began = time.monotonic()
        with kept_running([worker]):
            runs = stand.client.ask.many("cashier", map(str, range(count)), retry=PATIENT)
            stand.wait_moving({"waiting": 2 * count})  # with their wishes
            wait_after = time.monotonic() - began
            plain = [_answered_after(stand)]
            worker.kill()
            stand.broker.wipe()
            plain += [_answered_after(stand) for _ in range(PLAIN)]
            wishes = stand.client.waiting(limit=2 * count, timeout=30)
            assert {wish.run_id for wish in wishes} == {run.id for run in runs}
            _approve(stand, wishes)
            stand.wait_moving({"succeeded": 2 * count + len(plain)})
            stand.wait_ended(runs)
    assert set(stand.values(runs)) == {"paid"}
    booked = Counter(tuple(line.split()[:2]) for line in books.read_text().splitlines())
    assert booked == Counter([(part, str(n)) for part in ("debit", "credit") for n in range(count)])
    stand.witness.check()
    return {
        "runs": count,
        "slots": SLOTS,
        "all_wait_after_s": wait_after,
        "plain_first_s": f"{plain[0]:.2f}",
        "plain_after_the_kill_s": f"{plain[1]:.2f}",
        "plain_mean_s": f"{sum(plain[2:]) / len(plain[2:]):.3f}",
        "ended_after_s": time.monotonic() - began,
    }


def _answered_after(stand: Stand) -> float:
    """Ask a plain agent; the seconds until it has answered."""
    began = time.monotonic()
    assert stand.client.ask("holds", 0).get(timeout=AT_ONCE_S) == "held"
    return time.monotonic() - began


def _approve(stand: Stand, wishes: list[Wish]) -> None:
    def yes(wish: Wish) -> None:
        stand.client.approve(wish.run_id, True, key=wish.key, timeout=60)

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(yes, wishes)]
