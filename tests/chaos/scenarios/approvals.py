"""Tools that people approve, whose workers die: no payment is made twice, and none is hidden."""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from app.journal.schema.models import Call, Step
from celery_agents import Run, names
from deploy.local.state import ROOT
from tests.chaos.audit import audit
from tests.chaos.bank import BOOKS, MOMENTS
from tests.chaos.models import offered
from tests.chaos.people import SAID_FILE, SEED
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import strike
from tests.chaos.stand import PATIENT, STUCK_S, Stand, ToppledError, kept_running
from tests.fakes.model_server import Does, ModelServer, Seen
from tests.support.forks import Fork
from tests.support.service import CHECKOUT
from tests.support.workers import WorkerProcess

WORKERS, PEOPLE = 3, 2
#: Seconds between two faults, and of a model's request.
PAUSE_S, TAKES_S = (0.4, 1.6), (0.02, 0.3)
#: Of so many payments one has its worker killed in it; of so many one has wrong arguments.
DEADLY, WRONG = 8, 8
TOOLS = ("tests.chaos.bank:pays", "tests.chaos.agents:looks_up")
_REFUSED, _WRONG = "This call was not approved", "Wrong arguments"
_UNCERTAIN = re.compile(r"as ([0-9a-f-]{36}), and nobody knows whether it was done")


class Told(NamedTuple):
    """A payment that the model asked for, and what it heard of it."""

    order: str
    cents: Any
    heard: str


class Cashier(ModelServer):
    """A model that wants two payments and a look at once; says in the end what it was told.

    What was refused it asks for once more, for less; what it asked for wrongly it asks for rightly.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def next(self, seen: Seen) -> Does:
        """Go by what stands in the conversation alone, as a model does."""
        messages = seen.body["messages"]
        n = str(next(m["content"] for m in messages if m["role"] == "user"))
        replies = sum(m["role"] == "assistant" for m in messages)
        rng = random.Random(f"{self._seed}/{n}/{replies}")
        time.sleep(rng.uniform(*TAKES_S))
        if replies == 0:
            payments = [_payment(rng, f"{n}{which}", 1000) for which in "ab"]
            if not rng.randrange(WRONG):
                payments[1]["cents"] = "some"
            return Does(tools=(*(("pays", p) for p in payments), ("looks_up", {"what": n})))
        told = _told(messages)
        again = [_payment(rng, t.order, 500) for t in told if _is_refusal(t)]
        if replies == 1 and again:
            return Does(tools=tuple(("pays", payment) for payment in again))
        return Does(text=json.dumps(told))


def _payment(rng: random.Random, order: str, cents: int) -> dict[str, Any]:
    dies = rng.choice(MOMENTS) if not rng.randrange(DEADLY) else ""
    return {"order": order, "cents": cents, "dies": dies}


def _is_refusal(told: Told) -> bool:
    return any(words in told.heard for words in (_REFUSED, _WRONG))


def _told(messages: Sequence[Any]) -> list[Told]:
    """The payments of a conversation, in their order; ids of calls come again in each reply."""
    found, asked = [], dict[str, Any]()
    for message in messages:
        if message["role"] == "assistant":
            asked = {call["id"]: call["function"] for call in message["tool_calls"]}
        elif message["role"] == "tool":
            call = asked[message["tool_call_id"]]
            about = json.loads(call["arguments"])
            if call["name"] == "pays":
                found.append(Told(about["order"], about["cents"], message["content"]))
    return found


@scenario("approvals")
def approvals(stand: Stand) -> Numbers:
    """Two payments and a look in each reply; people decide, workers die, Redis is emptied."""
    cashier = Cashier(stand.options.seed)
    books = stand.stack.directory / "books"
    stand.stack.env[BOOKS] = str(books)
    runs: list[Run] = []
    done = Counter[str]()
    faults = ["kill"] * stand.options.kills + ["wipe"] * stand.options.wipes
    stand.rng.shuffle(faults)
    wanted = stand.size(300, 8)
    try:
        with _working(stand, cashier) as workers, _people(stand):
            for n, fault in enumerate(faults, 1):
                while len(runs) < wanted * n // len(faults):
                    runs.append(stand.client.ask("cashier", str(len(runs)), retry=PATIENT))
                time.sleep(stand.rng.uniform(*PAUSE_S))
                done[strike(fault, stand, workers)] += 1
                stand.send_again(runs)
            again = _wait(stand, runs)
        return {"runs": len(runs), **done, "sent_again": again, **_check(stand, runs, books)}
    except AssertionError as error:
        raise ToppledError(str(error), {"runs": len(runs), **done}) from error


@contextmanager
def _working(stand: Stand, cashier: Cashier) -> Iterator[list[WorkerProcess]]:
    """Workers that ask the cashier, and come back when they die."""
    with offered(stand, cashier, cashier=TOOLS):
        workers = stand.workers(stand.size(WORKERS, 2))
        with kept_running(workers):
            yield workers


def _wait(stand: Stand, runs: Sequence[Run]) -> int:
    """Wait until all have ended, however long, while some do; how many were sent again."""
    while True:
        before = _ended(stand)
        try:
            return stand.wait_ended(runs, timeout_s=STUCK_S)
        except AssertionError:
            if _ended(stand) == before:
                raise


def _ended(stand: Stand) -> int:
    return sum(row.finished_at is not None for row in stand.rows(Step.finished_at))


@contextmanager
def _people(stand: Stand) -> Iterator[None]:
    """Processes that answer what waits."""
    directory = stand.stack.directory
    told = {SEED: str(stand.options.seed)}
    people = [
        Fork(
            [sys.executable, "-m", "tests.chaos.people", str(number)],
            pid_file=directory / f"person-{number}.pid",
            output=directory / f"person-{number}.log",
            env=CHECKOUT.environment(
                {**stand.stack.env, **told, SAID_FILE: str(directory / f"said-{number}")}
            ),
            cwd=ROOT,
        )
        for number in range(PEOPLE)
    ]
    try:
        yield
        ended = [child.returncode for child in people if child.returncode is not None]
        assert not ended, f"people have left: {ended}"
    finally:
        for child in people:
            child.kill()


# -- the audit


class Wished(NamedTuple):
    """A wish as it stands in the journal, and the answer that counts."""

    key: str
    order: str
    cents: Any
    choice: Any

    @property
    def paid(self) -> Any:
        """The cents that a person let be paid; None when that was refused."""
        if isinstance(self.choice, dict):
            return self.choice["arguments"]["cents"]
        return self.cents if self.choice else None


def _check(stand: Stand, runs: Sequence[Run], books: Path) -> dict[str, Any]:
    values = stand.values(runs)
    odd = [v for v in values if not str(v).startswith("[")]
    assert not odd, f"{len(odd)} runs have not ended as they should: {odd[:2]}"
    told = [Told(*payment) for value in values for payment in json.loads(value)]
    assert {t.order for t in told} == {f"{n}{w}" for n in range(len(runs)) for w in "ab"}
    wished = _wished(stand)
    heard = {(t.order, t.cents): t.heard for t in told}
    assert len(heard) == len(told), "a payment was told of twice"
    _check_wishes(wished, heard)
    verdicts = _check_payments(wished, heard, books)
    unknown = {m[1] for t in told if (m := _UNCERTAIN.search(t.heard))}
    _check_calls(stand, unknown)
    said = _check_said(stand, wished)
    stand.witness.check()
    figures = audit(stand)
    return {"wishes": len(wished), **verdicts, **said, "uncertain": len(unknown), **figures}


def _wished(stand: Stand) -> list[Wished]:
    rows = stand.rows(Step.id, Step.task, Step.payload, Step.outcome, Step.state)
    asked = [row for row in rows if row.task == names.APPROVAL]
    assert {row.state for row in asked} == {"succeeded"}, "a wish that nobody answered"
    return [
        Wished(row.id, about["order"], about["cents"], row.outcome["value"])
        for row in asked
        for about in [row.payload["args"][0]["arguments"]]
    ]


def _check_wishes(wished: Sequence[Wished], heard: dict[tuple[str, Any], str]) -> None:
    """Somebody was asked of each payment that could be made, once, and of no other."""
    assert all(isinstance(w.cents, int) for w in wished), "wrong arguments have reached a person"
    asked = Counter((w.order, w.cents) for w in wished)
    assert set(asked.values()) == {1}, "a person was asked twice about one payment"
    right = {(order, cents) for order, cents in heard if isinstance(cents, int)}
    assert {*asked} == right, "not the payments that the model asked for"


def _check_payments(
    wished: Sequence[Wished], heard: dict[tuple[str, Any], str], books: Path
) -> dict[str, int]:
    """Each approval was used once at the most; once where that is told, and else it is said."""
    booked = defaultdict[tuple[str, str], Counter[str]](Counter)
    for part, order, cents, _ in map(str.split, books.read_text().splitlines()):
        booked[order, cents][part] += 1
    verdicts = Counter[str](refused=0, mistaken=0)
    for wish in wished:
        told = heard[wish.order, wish.cents]
        parts = booked.pop((wish.order, str(wish.paid)), Counter())
        assert max(parts.values(), default=0) <= 1, f"{wish.order} was paid twice"
        if wish.paid is None:
            assert _REFUSED in told, f"{wish.order} was refused: {told}"
            assert not parts, f"{wish.order} was refused, and paid"
            verdicts["refused"] += 1
        elif not isinstance(wish.paid, int):
            assert _WRONG in told, f"{wish.order} has wrong arguments: {told}"
            assert not parts
            verdicts["mistaken"] += 1
        elif _UNCERTAIN.search(told):
            verdicts[f"unknown_with_{sum(parts.values())}_of_2_done"] += 1
        else:
            assert parts.total() == 2, f"{wish.order} is not paid, and told as {told}"
            verdicts["changed" if wish.paid != wish.cents else "paid"] += 1
            assert ("called_with" in told) is (wish.paid != wish.cents)
            assert "paid" in told
    assert not booked, f"payments without an approval: {[*booked]}"
    return dict(sorted(verdicts.items()))


def _check_calls(stand: Stand, unknown: set[str]) -> None:
    """Calls that were begun and never ended are told as that; no others are."""
    rows = stand.rows(Call.name, Call.idempotency_key, Call.finished_at)
    begun = {row.idempotency_key for row in rows if row.name == "tool:pays"}
    over = {row.idempotency_key for row in rows if row.finished_at is not None}
    assert unknown == begun - over, "not those are told as uncertain that are"
    entered = Counter(words[0] for words in stand.counted() if words[0] in begun)
    assert max(entered.values()) == 1, "a payment's function was called again"


def _check_said(stand: Stand, wished: Sequence[Wished]) -> dict[str, int]:
    """Answers of which somebody was told that they were taken are the one that counts."""
    files = sorted(stand.stack.directory.glob("said-*"))
    said = [line.split() for file in files for line in file.read_text().splitlines()]
    counts = {wish.key: _word(wish) for wish in wished}
    false = [key for key, word, how in said if how == "taken" and counts[key] != word]
    assert not false, f"{len(false)} people were told that their answer counts: {false[:3]}"
    hows = Counter(how for *_, how in said)
    return {f"answers_{how}": hows[how] for how in ("taken", "late", "unheard")}


def _word(wish: Wished) -> str:
    if not isinstance(wish.choice, dict):
        return "yes" if wish.choice else "no"
    return "changed" if isinstance(wish.paid, int) else "mistaken"
