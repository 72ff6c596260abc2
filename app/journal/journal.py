"""The journal as one process uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from agents.plan import Expand, MemberState, Tally
from app.concurrency.future import Future
from app.journal.queries import reads, tallies
from app.journal.queries.together import Together
from app.journal.schema.engine import reading
from app.journal.schema.rows import (
    Aftermath,
    Claim,
    Claimed,
    NewExchange,
    NewStep,
)
from app.journal.schema.sealed import sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.sequels import Sequels
from app.journal.steps import approvals, calls, cancels, due, joins
from app.journal.steps.calls import Before, Begun, FinishCall, StartCall
from app.journal.steps.caps import Caps
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import Expanded, ExpandStep
from app.journal.steps.finishes import FinishStep, Postponed, PostponeStep, Settle, event
from app.journal.steps.inserts import InsertStep
from app.journal.steps.spending import Settled
from app.journal.stores.bounds import Bounds
from app.journal.stores.exchanges import Exchanges
from app.journal.stores.findings import Findings
from app.journal.stores.flows import FlowStore
from app.journal.stores.ledger import Ledger
from app.journal.stores.letters import Letters
from app.journal.stores.memories import MemoryStore
from app.journal.stores.memos import Memos
from app.journal.stores.parents import Parents
from app.journal.stores.schedules import ScheduleStore
from app.journal.stores.streams import StreamStore
from app.journal.stores.targets import Targets
from app.journal.stores.undoing import Undoings
from app.journal.stores.wishes import Wishes
from app.journal.tables import agents, ticks, workers
from app.journal.tables.workers import Identity
from app.journal.writing.connection import Held, held_transaction
from app.journal.writing.writer import Writer
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import StepCancelledError

T = TypeVar("T")
_CANCELLED = Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError()))


class Journal:
    """The journal of one process. Writes return a future of their commit."""

    def __init__(
        self,
        engine: Engine,
        me: Identity,
        *,
        decided: joins.Decider,
        lease_s: float,
        wake_grace_s: float,
        group_commit_max: int,
        spread_limit_bytes: int | None = None,
        caps: Caps | None = None,
    ) -> None:
        self.engine, self.me, self._lease_s = engine, me, lease_s
        seals = sealed_by(engine)
        self.rules = joins.Rules(decided, wake_grace_s, spread_limit_bytes, caps or Caps(), seals)
        self._heart = Held(engine)  # reads of many steps may have taken all of the pool's
        self._hearts = threading.Lock()
        self._beat(lambda c: workers.register(c, me, lease_s))
        self._writer = Writer(engine, batch_max=group_commit_max)
        self.open = self._writer.open  # or the first write does it
        #: How many writes of steps were refused: the database is full or away.
        self.refusals: Callable[[], int] = lambda: self._writer.refusals
        self._members = Together(engine, joins.members_of)
        self.flows, self.sequels = FlowStore(engine), Sequels(self._writer, self.rules)
        self.findings = Findings(engine, self.rules, me.id)
        self.bounds = Bounds(engine, self.rules.caps.cost)
        self.ledger, self.letters, self.memos = Ledger(engine), Letters(engine), Memos(engine)
        self.undoing, self.sessions = Undoings(engine), Exchanges(engine, self._writer)
        self.streams, self.memories = StreamStore(engine), MemoryStore(engine)
        self.schedules = ScheduleStore(engine, wake_grace_s)
        self.targets, self.parents, self.wishes = Targets(engine), Parents(engine), Wishes(engine)

    def close(self) -> None:
        """Write what is queued; give back the lease with what still runs under it."""
        self._writer.close()
        self._beat(lambda c: workers.leave(c, self.me))
        with self._hearts:
            self._heart.close()
        self._members.close()
        self.flows.close()
        self.findings.close()
        self.engine.dispose()

    # -- writes, in group commits

    def claim(self, step_id: str, new: NewStep | None = None) -> Future[Claim]:
        """Claim a step; with ``new``, make its row on the way if it has none."""
        return self._writer.submit(ClaimStep(step_id, self.me.id, self.rules, new))

    def insert(self, new: NewStep) -> Future[None]:
        """Make the row of a step that is ready, unless it has one; see :func:`sealed_step`."""
        return self._writer.submit(InsertStep(new, self.rules.wake_grace_s))

    def finish(
        self, claim: Claimed, outcome: Outcome, exchange: NewExchange | None = None, **more: Any
    ) -> Future[Aftermath]:
        """End a claimed step with its outcome, and with what it adds; see :class:`FinishStep`."""
        return self._writer.submit(FinishStep(claim, outcome, self.rules, exchange, **more))

    def expand(
        self, claim: Claimed, plan: Expand, *, ended_members: int | None = None, **more: Any
    ) -> Future[Expanded]:
        """Let a step wait for members; see :class:`ExpandStep`."""
        return self._writer.submit(ExpandStep(claim, plan, self.rules, ended_members, **more))

    def postpone(
        self,
        claim: Claimed,
        *,
        delay_s: float,
        error: ErrorInfo | None = None,
        cancelled: Outcome | None = None,
        refused_within_s: float | None = None,
        woken_in_s: float | None = None,
        noted: tuple[str, dict[str, Any]] | None = None,
    ) -> Future[Postponed]:
        """Give a step back; end one that is cancelled, with ``cancelled`` if that is given.

        ``woken_in_s``: somebody should have woken it by then. ``noted``: an event that says why.
        """
        return self._writer.submit(
            PostponeStep(
                claim,
                delay_s=delay_s,
                error=error,
                cancelled=cancelled or _CANCELLED,
                rules=self.rules,
                refused_within_s=refused_within_s,
                woken_in_s=woken_in_s,
                noted=noted,
            )
        )

    def start_call(
        self, claim: Claimed, seq: int, name: str, identity: str, key: str, **how: Any
    ) -> Future[Begun | Before]:
        """Write down a call before it is made; see :class:`StartCall`."""
        return self._writer.submit(StartCall(claim, seq, name, identity, key, **how))

    def finish_call(
        self,
        claim: Claimed,
        seq: int,
        answer: dict[str, Any] | None,
        error: ErrorInfo | None = None,
        *,
        cost_usd: float | None = None,
        settled: Settled | None = None,
    ) -> Future[None]:
        """Write down the answer or the error of a call, and what it cost."""
        return self._writer.submit(
            FinishCall(claim, seq, answer, error, cost_usd=cost_usd, settled=settled)
        )

    def settle(self, step_id: str, token: int | None = None) -> Future[None]:
        """Note that a step's result is stored and its successors are published."""
        return self._writer.submit(Settle(step_id, token))

    # -- writes of their own transaction

    def transaction(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction; see :func:`in_transaction`."""
        return in_transaction(self.engine, work)

    def beat(self) -> workers.Beat:
        """Extend the lease of this process; learn what is cancelled."""
        return self._beat(lambda c: workers.beat(c, self.me, self._lease_s))

    def _beat(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction on the heart's own connection."""
        with self._hearts:
            return held_transaction(self._heart, work)

    def give_back(self, step_ids: list[str], tokens: Mapping[str, int] | None = None) -> None:
        """Give back steps of this process, for anybody to claim."""
        self.transaction(lambda c: workers.give_back(c, self.me, step_ids, tokens))

    def cancel(self, step_id: str, tenant: str = "") -> Aftermath:
        """Cancel a step with all that hangs below it; one without a row is this tenant's."""
        return cancels.stop(self.engine, step_id, self.rules, tenant)

    def note(self, run_id: str, step_id: str, kind: str, data: Sequence[dict[str, Any]]) -> None:
        """Write events of a step."""
        self.transaction(lambda c: [c.execute(event(run_id, step_id, kind, d)) for d in data])

    def announce(
        self, rows: list[dict[str, Any]], queues: Sequence[str] = (), slots: int | None = None
    ) -> None:
        """Write down this worker's agents; see :func:`agents.announce`."""
        self.transaction(lambda c: agents.announce(c, rows, self.me.id, queues, slots))

    def approve(self, run_id: str, choice: JsonValue, key: str = "", **whose: Any) -> Aftermath:
        """Answer the wish of that key, or the oldest of the run; the first answer to one counts."""
        wish = key or self.read(lambda c: approvals.oldest(c, run_id))
        about: Any = (run_id, choice, self.rules, wish)
        return self.transaction(lambda c: approvals.approve(c, *about, **whose))

    def take_turn(self, schedule: str, every_s: float) -> bool:
        """Try to take the next turn of a schedule; see :func:`ticks.take_slot`."""
        return self.transaction(lambda c: ticks.take_slot(c, schedule, every_s, self.me.id))

    # -- reads

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction that only reads."""
        return in_transaction(reading(self.engine), work)

    def members(self, step_id: str) -> list[MemberState]:
        """Return all members of a step, of every round, in their order."""
        return joins.states(self._members(step_id))

    def results(self, step_id: str, after: int) -> dict[str, Any]:
        """Return a page of members' outcomes, from place ``after`` + 1 on."""
        return self.read(lambda c: tallies.page(c, step_id, after))

    def tally(self, step_id: str, *, values_within: int = 0) -> Tally:
        """Count a step's members; see :func:`tallies.tally`."""
        return self.read(lambda c: tallies.tally(c, step_id, values_within=values_within))

    def finished_calls(self, step_id: str) -> dict[str, dict[str, Any]]:
        """Return the results of earlier attempts' calls, by identity.

        An answer or, where there was one that is too large to be kept, the error that says so.
        """
        return self.read(lambda c: calls.finished(c, step_id))

    def knows_call(self, step_id: str, identity: str, *, begun: bool) -> bool:
        """Return whether a call has told once and for all what it did, or is ``begun``."""
        return self.read(lambda c: calls.is_known(c, step_id, identity, begun=begun))

    def known(self, step_id: str) -> bool:
        """Return whether the step has a row."""
        return bool(self.read(lambda c: due.known(c, [step_id])))

    def run_tree(self, run_id: str) -> dict[str, Any] | None:
        """Return a run as a tree of steps; None when there is no such run."""
        return self.read(lambda c: reads.run_tree(c, run_id))
