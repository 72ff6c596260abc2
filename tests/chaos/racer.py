"""One of several processes that race on a journal: ``python -m tests.chaos.racer NUMBER RUNS``.

It asks for runs and works on everybody's, at full speed, with timers of milliseconds and a lease
that it lets lapse now and then. Messages are ids in a list in Redis; some are doubled, some lost.
What the journal told it stands in a file, for the audit.
"""

from __future__ import annotations

import heapq
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis

from agents.patterns import compensate as undoing
from agents.plan import Expand, JoinPolicy, Member, MemberState
from app.journal import Journal
from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.schema.engine import connect
from app.journal.schema.rows import Aftermath, Claimed, Finished, NewStep, Refusal, Refused
from app.journal.steps import compensations, dead_letters
from app.journal.steps import due as wakes
from app.journal.steps.calls import Begun
from app.journal.tables.workers import Identity
from celery_agents import names
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import (
    InvalidPayloadError,
    JournalUnavailableError,
    RunBusyError,
    StepCancelledError,
)
from tests.chaos.agents import CALLS_FILE

log = logging.getLogger(__name__)

INBOX, ASKED, OVER = "races:inbox", "races:asked", "races:over"
#: The environment's variable for the file of what was told.
TOLD_FILE = "CHAOS_TOLD_FILE"
SEED = "CHAOS_SEED"
THREADS = 6
LEASE_S, BEAT_S, FROZEN_S, GRACE_S = 0.8, 0.1, 1.2, 0.3
#: Between two messages for a step that recovery finds, at the most: copies fill the queue.
PAUSE_S = 5.0
#: Runs stay so long after their end, when no message of theirs is under way any more. What is
#: told of them is audited by copies.
KEPT_S = 15.0
SOON_S = 60.0
#: A step that is refused has so long from then on.
PATIENT_S = 60.0
#: Seconds within which joins come to their deadlines.
TIMERS_S = (0.005, 0.1)
MEMBERS_MAX = 5
#: Shares of messages.
DOUBLED, LOST = 0.1, 0.02

DONE = Outcome(state=State.SUCCEEDED, value="yes")
UNDOABLE = DONE.model_copy(update={"compensation": Compensation(agent="undo")})
FAILED = Outcome(state=State.FAILED, error=ErrorInfo(kind="agent_failed", message="no"))
CANCELLED = Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError()))
BUSY = ErrorInfo(kind="unavailable", message="busy", retryable=True)
_DAY_S = 86_400.0
KEPT = Retention(
    succeeded_days=KEPT_S / _DAY_S, others_days=2 * KEPT_S / _DAY_S, dead_letters_days=1
)


def new_root(number: int, serial: int) -> NewStep:
    """A run: a pattern of two attempts."""
    root_id = f"p{number}-{serial:06}"
    payload = {"args": [root_id], "kwargs": {}}
    return NewStep(
        id=root_id, run_id=root_id, task=names.FALLBACK, queue="q", payload=payload, max_attempts=2
    )


def member(key: str, task: str = names.ASK, **more: Any) -> Member:
    return Member(key=key, task=task, input=key, options={"agent": "a"}, max_attempts=2, **more)


def _appending(name: str) -> Any:
    """The file that a variable of the environment names, each line of which is written at once."""
    return Path(os.environ[name]).open("a", buffering=1, encoding="utf-8")


def decided(_task: str, _payload: dict[str, Any], members: list[MemberState]) -> bool:
    return sum(m.state is State.FAILED for m in members) > 1


class Racer:
    """One process: threads that work, a heart, a clock, and one that looks after things."""

    def __init__(self, number: int, runs: int) -> None:
        self.number = number
        self._runs = runs
        self._rng = random.Random(f"{os.environ[SEED]}/{number}")
        self._redis = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
        self._journal = Journal(
            connect(os.environ["DATABASE_URL"]),
            Identity(f"racer-{number}"),
            decided=decided,
            lease_s=LEASE_S,
            wake_grace_s=GRACE_S,
            group_commit_max=64,
        )
        self._active: dict[str, int] = {}  # by token
        self._cancelled: set[str] = set()
        self._timers: list[tuple[float, str]] = []
        self._timed = threading.Condition()
        self._look_at, self._over = 0.0, False
        self._told = _appending(TOLD_FILE)
        self._calls = _appending(CALLS_FILE)

    def run(self) -> None:
        """Work until the word comes that it is over."""
        loops = [self._work] * THREADS + [self._ask, self._beat, self._tick, self._look_after]
        threads = [threading.Thread(target=self._guarded, args=(loop,)) for loop in loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._journal.close()

    @property
    def over(self) -> bool:
        """Tell whether the word has come; it is looked for ten times a second, not in each turn."""
        if (at := time.monotonic()) > self._look_at:
            self._look_at, self._over = at + 0.1, bool(self._redis.exists(OVER))
        return self._over

    def tell(self, *words: object) -> None:
        """Append a line for the audit."""
        self._told.write(" ".join(map(str, words)) + "\n")

    def _guarded(self, loop: Callable[[], None]) -> None:
        """Run a loop again and again; what it may not raise is told."""
        while not self.over:
            try:
                loop()
            except JournalUnavailableError as error:
                self.tell("error", "unavailable", error)
            except Exception as error:
                log.exception("%s failed", loop.__name__)
                self.tell("error", type(error).__name__, " ".join(str(error).split())[:200])

    # -- messages

    def _send(self, ids: Iterable[str]) -> None:
        for step_id in ids:
            chance = self._rng.random()
            copies = 0 if chance < LOST else 2 if chance < LOST + DOUBLED else 1
            for _ in range(copies):
                self._redis.lpush(INBOX, step_id)

    def _follow(self, after: Aftermath) -> None:
        self._send(w.id for w in after.wakes)
        self._cancelled.update(i for i in after.cancels if i in self._active)

    def _later(self, seconds: float, step_id: str) -> None:
        with self._timed:
            heapq.heappush(self._timers, (time.monotonic() + seconds, step_id))
            self._timed.notify()

    def _tick(self) -> None:
        due = []
        with self._timed:
            while self._timers and self._timers[0][0] <= time.monotonic():
                due.append(heapq.heappop(self._timers)[1])
            if not due:
                left_s = self._timers[0][0] - time.monotonic() if self._timers else BEAT_S
                self._timed.wait(min(left_s, BEAT_S))
        self._send(due)

    # -- what asks, beats and looks after things

    def _ask(self) -> None:
        if not self._runs:
            time.sleep(0.1)
        elif self._redis.llen(INBOX) > 100:
            time.sleep(0.01)
        else:
            self._runs -= 1
            new = new_root(self.number, self._runs)
            self.tell("asked", new.id)
            if self._rng.random() < 0.5:  # as what follows a step
                self._journal.insert(new).result(SOON_S)
            self._redis.lpush(INBOX, f"new {new.id}" if self._rng.random() < 0.5 else new.id)
            self._redis.lpush(INBOX, f"new {new.id}")
            self._redis.incr(ASKED)

    def _beat(self) -> None:
        time.sleep(FROZEN_S if self._rng.random() < 0.02 else BEAT_S)
        beat = self._journal.beat()
        self._cancelled.update(i for i in beat.cancelled if i in self._active)
        for step_id, token in beat.running.items():
            if self._active.get(step_id) != token and self._rng.random() < 0.3:
                self._give_back(step_id, token)

    def _give_back(self, step_id: str, token: int) -> None:
        """Give back what a thread dropped, a little later: a claim commits before it is known."""
        time.sleep(0.02)
        if self._active.get(step_id) != token:
            self._journal.give_back([step_id], {step_id: token})

    def _look_after(self) -> None:
        j, rng = self._journal, self._rng
        time.sleep(rng.uniform(0.05, 0.3))  # each look takes as long as a dozen steps
        self._follow(j.transaction(lambda c: wakes.late_joins(c, 50, j.rules)))
        for find in (wakes.orphaned, wakes.unwoken, wakes.unsettled):
            found = j.transaction(partial(find, limit=50, grace_s=GRACE_S, backoff_max_s=PAUSE_S))
            self._send(w.id for w in found)
        chance = rng.random()
        if chance < 0.3:
            self._cancel()
        elif chance < 0.5:
            self._requeue()
        elif chance < 0.6:
            clean_journal(j.engine, KEPT, batch=20, limit_s=1.0)

    def _cancel(self) -> None:
        recent = self._rng.randrange(40)
        step_id = f"p{self._rng.randrange(4)}-{self._runs + recent:06}"
        if self._journal.known(step_id):
            after = self._journal.cancel(step_id)
            self._follow(after)
            self.tell("cancelled", step_id, after.applied)

    def _requeue(self) -> None:
        letters = self._journal.read(lambda c: dead_letters.listed(c, 10))
        for letter in letters[:3]:
            with suppress(InvalidPayloadError):
                again = partial(
                    dead_letters.requeue_step, step_id=letter["id"], wake_grace_s=GRACE_S
                )
                wake = self._journal.transaction(again)
                self.tell("requeued", wake.id)
                self._send([wake.id])

    # -- steps

    def _work(self) -> None:
        taken: Any = self._redis.brpop([INBOX], timeout=1)
        if taken is None:
            return
        step_id = taken[1].removeprefix("new ")
        number, _, serial = step_id.removeprefix("p").partition("-")
        fresh = taken[1].startswith("new ")
        new = new_root(int(number), int(serial)) if fresh else None
        claim = self._journal.claim(step_id, new).result(SOON_S)
        if isinstance(claim, Finished):
            self.tell("found", step_id, claim.outcome.state)
            self._follow(claim.aftermath)
            if claim.parent_id is None:
                self._journal.settle(step_id, claim.token)
        elif isinstance(claim, Refused):
            if claim.reason is Refusal.LAPSED:  # the next heartbeat brings a new lease
                time.sleep(BEAT_S)
                self._redis.lpush(INBOX, taken[1])
        else:
            self._active[step_id] = claim.token
            try:
                self._follow(Aftermath(cancels=claim.let_go.cancels if claim.let_go else []))
                self._perform(claim)
            finally:
                if self._active.get(step_id) == claim.token:
                    del self._active[step_id]
                self._cancelled.discard(step_id)

    def _perform(self, claim: Claimed) -> None:
        if self._rng.random() < 0.02:
            return  # it falls, and nobody notices
        if claim.task == names.COMPENSATE:
            self._undo(claim)
        elif claim.task == names.FALLBACK:
            self._decide(claim)
        else:
            self._answer(claim)

    def _answer(self, claim: Claimed) -> None:
        time.sleep(self._rng.uniform(0, 0.02))
        chance = self._rng.random()
        if chance < 0.1:
            return self._postpone(claim, attempted=False)
        self._call(claim)
        chance = self._rng.random()
        if chance < 0.1:
            return self._postpone(claim, attempted=True)
        if claim.agent == "undo":
            return self._finish(claim, DONE if chance < 0.9 else FAILED)
        return self._finish(claim, UNDOABLE if chance < 0.3 else DONE if chance < 0.4 else FAILED)

    def _call(self, claim: Claimed) -> None:
        """One paid act, unless an earlier attempt has made it; see ``Step.call``."""
        if claim.token > 1 and self._journal.finished_calls(claim.id):
            return
        key = claim.id[-36:]
        if self._journal.start_call(claim, 0, "act", "f", key).result(SOON_S) is not Begun.YES:
            return
        self._calls.write(f"{key} {claim.id} {claim.token} act\n")
        time.sleep(self._rng.uniform(0, 0.01))
        self._journal.finish_call(claim, 0, {"value": 1}).result(SOON_S)

    def _postpone(self, claim: Claimed, *, attempted: bool) -> None:
        if claim.attempt >= claim.max_attempts and attempted:
            return self._finish(claim, FAILED)
        after = self._journal.postpone(
            claim, delay_s=0.01, error=BUSY, refused_within_s=None if attempted else PATIENT_S
        ).result(SOON_S)
        if after.outcome is not None:  # it was cancelled
            return self._ended(claim, after.outcome, after)
        return self._later(0.01, claim.id) if after.applied else None

    def _decide(self, claim: Claimed) -> None:
        """A pattern: rounds of members until one is right, or there were enough."""
        members = self._journal.members(claim.id)
        right = any(m.state is State.SUCCEEDED for m in members)
        if right or len(members) >= MEMBERS_MAX:
            ok = right and self._rng.random() < 0.6
            return self._finish(claim, DONE if ok else FAILED)
        live = [m.key for m in members if not m.state.final]
        new = [f"m{len(members) + n}" for n in range(self._rng.choice([1, 1, 2, 3]))]
        asked = [self._member(claim, k) for k in [*live, *new]]
        timeout_s = self._rng.uniform(*TIMERS_S) if self._rng.random() < 0.7 else None
        kind = self._rng.choice(["first", "first", "all", "unbroken", "decided"])
        keep = timeout_s is not None and self._rng.random() < 0.8
        join = JoinPolicy(kind=kind, timeout_s=timeout_s, keep=keep)
        return self._expand(claim, Expand(members=tuple(asked), join=join))

    def _member(self, claim: Claimed, key: str) -> Member:
        nested = claim.parent_id is None and key in {"m1", "m3"}
        return member(key, names.FALLBACK if nested else names.ASK, agent="a")

    def _expand(self, claim: Claimed, plan: Expand) -> None:
        expanded = self._journal.expand(claim, plan).result(SOON_S)
        if not expanded.applied:  # cancelled meanwhile, as in app/execution/attempts/attempt.py
            return self._finish(claim, CANCELLED)
        self._follow(expanded)
        self._send(w.id for w in expanded.members)
        if plan.join.timeout_s is not None:
            self._later(plan.join.timeout_s, claim.id)
        return None

    def _undo(self, claim: Claimed) -> None:
        """As ``agents.compensate`` does it."""
        j, run_id = self._journal, claim.run_id
        going = j.transaction(lambda c: compensations.let_go(c, run_id))
        if going is not None and going.cancels and claim.attempt < claim.max_attempts:
            self._follow(going)
            error = ErrorInfo.of(RunBusyError())
            j.postpone(claim, delay_s=0.02, error=error).result(SOON_S)
            return self._later(0.02, claim.id)
        done = j.read(lambda c: compensations.finished(c, run_id))
        turn = j.read(lambda c: compensations.turns(c, run_id))
        members = j.members(claim.id)
        following = undoing.next_one(done, members, turn)
        if following is None:
            return self._finish(claim, undoing.conclusion(run_id, done, members, [], turn))
        told = j.read(lambda c: compensations.told(c, following.id))
        return self._expand(claim, undoing.undo(run_id, following, told, turn))

    def _finish(self, claim: Claimed, outcome: Outcome) -> None:
        if claim.id in self._cancelled and self._rng.random() < 0.5:
            outcome = CANCELLED
        self._ended(claim, outcome, self._journal.finish(claim, outcome).result(SOON_S))

    def _ended(self, claim: Claimed, outcome: Outcome, after: Aftermath) -> None:
        if not after.applied:
            self.tell("refused", claim.id)
            return
        self.tell("ended", claim.id, outcome.state)
        self._follow(after)
        if claim.parent_id is None:
            self._journal.settle(claim.id, claim.token)


def main() -> None:
    """Race until it is over."""
    logging.basicConfig()
    Racer(int(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
