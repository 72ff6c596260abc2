"""An actor's acts on the journal, and the answers: as a worker's own code does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import text

from agents.patterns.compensate import Undoable
from agents.plan import Expand, Member
from app.journal import Journal
from app.journal.actors.mailboxes import Mail
from app.journal.actors.store import ActorStore
from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.schema.rows import (
    Aftermath,
    Claimed,
    Finished,
    HeldSession,
    NewEntry,
    NewExchange,
    NewStep,
    Unheld,
    Wake,
)
from app.journal.sequels import FlowSeen, GoingOn
from app.journal.steps import approvals, compensations, dead_letters, due, joins
from app.journal.steps.calls import Before, Begun, StartCall
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep, Postponed, Settle
from app.journal.tables import workers
from app.journal.writing.operation import Operation
from celery_agents.contracts.flows.entries import HISTORY
from celery_agents.contracts.outcome import ErrorInfo, Outcome
from celery_agents.errors import AgentsError
from tests.support.interleave.ground import GRACE_S, Ground
from tests.unit.app.journal.support import DONE

T = TypeVar("T")
SOON_S = 20
#: The one that there is, and an exchange of it.
SESSION, SAID = "chat", NewExchange({"messages": []}, tokens=1)
#: Rows that an actor asked for at once.
MANY = 100
BACKOFF_S = 300.0
KEPT = Retention(succeeded_days=30, others_days=30, dead_letters_days=30)


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that was asked of the journal, and its answer (or its error)."""

    what: str
    step_id: str
    answer: Any
    about: Any = None  # the claim, the outcome: what was said


@dataclass(slots=True)
class Hand:
    """One actor's way to the journal, in one of the workers' names."""

    ground: Ground
    number: int
    told: list[Told] = field(default_factory=list)

    @property
    def journal(self) -> Journal:
        return self.ground.journals[self.number]

    def as_(self, who: str) -> Hand:
        """Go on as that worker."""
        self.journal.me = self.ground.who[who]
        return self

    def _tell(self, what: str, step_id: str, work: Callable[[], T], about: Any = None) -> T:
        try:
            answer = work()
        except AgentsError as error:
            self.told.append(Told(what, step_id, error, about))
            raise
        self.told.append(Told(what, step_id, answer, about))
        return answer

    # -- by the writer

    def claim(self, step_id: str, new: NewStep | None = None) -> Any:
        def work() -> Any:
            return self.journal.claim(step_id, new).result(SOON_S)

        return self._tell("claim", step_id, work, self.journal.me.id)

    def hold(self, claim: Claimed) -> HeldSession | Unheld:
        def work() -> HeldSession | Unheld:
            return self.journal.sessions.hold(claim, SESSION, MANY).result(SOON_S)

        return self._tell("hold", claim.id, work, claim)

    def finish(
        self, claim: Claimed, outcome: Outcome, exchange: NewExchange | None = None
    ) -> Aftermath:
        def work() -> Aftermath:
            return self.journal.finish(claim, outcome, exchange).result(SOON_S)

        return self._tell("finish", claim.id, work, (claim, outcome))

    def expand(self, claim: Claimed, plan: Expand) -> Any:
        def work() -> Any:
            return self.journal.expand(claim, plan).result(SOON_S)

        return self._tell("expand", claim.id, work, (claim, plan))

    def ask(self, claim: Claimed, plan: Expand) -> Any:
        """Expand an agent's step under the bounds of its run, as an attempt does it."""

        def work() -> Any:
            bounds = self.journal.bounds.of(claim, {})
            return self.journal.expand(claim, plan, bounds=bounds).result(SOON_S)

        return self._tell("expand", claim.id, work, (claim, plan))

    def go_on(self, claim: Claimed, flow: FlowSeen, asks: Member) -> object:
        """End a member of a flow and begin the next one, as an attempt does it."""
        line = NewEntry("", f"{HISTORY}{flow.claim.id}", "done", {"key": "a"}, run_id="r")
        going = GoingOn(DONE, self.ground.clock(), flow, line, asks)
        begun = self.journal.sequels.go_on(claim, going, self.journal.me.id).result(SOON_S)
        if begun is None:
            return self.finish(claim, DONE)
        self.told.append(Told("claim", begun.id, begun, self.journal.me.id))
        self.told.append(Told("finish", claim.id, Aftermath(), (claim, DONE)))
        return begun

    def signal(self, step_id: str) -> Aftermath:
        def work() -> Aftermath:
            given = (step_id, ("word", 1), f"signal-{self.number}", self.journal.rules)
            return self.journal.flows.signal(*given)[1]

        return self._tell("signal", step_id, work)

    def mail(self, mails: Sequence[Mail]) -> Aftermath:
        return self._tell("mail", "", lambda: ActorStore(self.journal).post(mails))

    def postpone(self, claim: Claimed, delay_s: float, error: ErrorInfo | None) -> Postponed:
        def work() -> Postponed:
            return self.journal.postpone(claim, delay_s=delay_s, error=error).result(SOON_S)

        return self._tell("postpone", claim.id, work, (claim, error))

    def insert(self, new: NewStep) -> object:
        return self._tell("insert", new.id, lambda: self.journal.insert(new).result(SOON_S))

    def start_call(self, claim: Claimed, seq: int = 0) -> Begun | Before:
        def work() -> Begun | Before:
            given = (seq, "model", f"f{seq}", f"key/{claim.id}/{seq}"[:36])
            return self.journal.start_call(claim, *given).result(SOON_S)

        return self._tell("start_call", claim.id, work, claim)

    def finish_call(self, claim: Claimed, seq: int = 0) -> Any:
        def work() -> Any:
            return self.journal.finish_call(claim, seq, {"value": 1}).result(SOON_S)

        return self._tell("finish_call", claim.id, work, claim)

    def settle(self, step_id: str, token: int) -> object:
        return self._tell(
            "settle", step_id, lambda: self.journal.settle(step_id, token).result(SOON_S)
        )

    def batch(self, *operations: Operation[Any]) -> list[Any]:
        """Several writes in one group commit."""
        writer: Any = self.journal._writer
        writer.write(list(operations))
        for o in operations:
            if isinstance(o, ClaimStep):
                self._tell("claim", o.step_id, partial(o.future.result, SOON_S), o.worker_id)
            elif isinstance(o, FinishStep):
                c = o.conclusion
                about = (_Claim(c.step_id, c.token or 0), c.outcome)
                self._tell("finish", c.step_id, partial(o.future.result, SOON_S), about)
            elif isinstance(o, ExpandStep):
                given = (o.claim, o.plan)
                self._tell("expand", o.claim.id, partial(o.future.result, SOON_S), given)
            elif isinstance(o, StartCall):
                held = _Claim(o.row["step_id"], o.row["token"])
                self._tell("start_call", held.id, partial(o.future.result, SOON_S), held)
            elif isinstance(o, Settle):
                self._tell("settle", o.step_id, partial(o.future.result, SOON_S))
            else:
                o.future.result(SOON_S)
        return [o.future.result(SOON_S) for o in operations]

    # -- by transactions of their own

    def cancel(self, step_id: str) -> Aftermath:
        return self._tell("cancel", step_id, lambda: self.journal.cancel(step_id))

    def approve(self, run_id: str, step_id: str, choice: str) -> Aftermath:
        work = lambda: self.journal.approve(run_id, choice, step_id)  # noqa: E731
        return self._tell("approve", step_id, work, choice)

    def requeue(self, step_id: str) -> Wake:
        def work() -> Wake:
            return self.journal.transaction(
                lambda c: dead_letters.requeue_step(c, step_id, GRACE_S)
            )

        return self._tell("requeue", step_id, work)

    def late_joins(self) -> Aftermath:
        j = self.journal

        def work() -> Aftermath:
            return j.transaction(lambda c: due.late_joins(c, MANY, j.rules))

        return self._tell("late_joins", "", work)

    def take_flows(self) -> list[due.DueFlow]:
        """Claim flows whose time has come, as a worker does that finds them."""
        j = self.journal

        def work() -> list[due.DueFlow]:
            return j.transaction(lambda c: due.take_flows(c, MANY, ["agents"], j.me.id))

        taken = self._tell("take_flows", "", work)
        self.told += [Told("claim", one.claim.id, one.claim, j.me.id) for one in taken]
        return taken

    def sweep(self, find: Any) -> list[Wake]:
        def work() -> list[Wake]:
            return self.journal.transaction(lambda c: find(c, MANY, GRACE_S, BACKOFF_S))

        return self._tell("sweep", find.__name__, work)

    def beat(self) -> workers.Beat:
        return self._tell("beat", self.journal.me.id, self.journal.beat)

    def give_back(self, claim: Claimed) -> object:
        tokens = {claim.id: claim.token}
        work = lambda: self.journal.give_back([claim.id], tokens)  # noqa: E731
        return self._tell("give_back", claim.id, work, claim)

    def leave(self) -> object:
        def work() -> None:
            self.journal.transaction(lambda c: workers.leave(c, self.journal.me))

        return self._tell("leave", self.journal.me.id, work)

    def let_go(self, run_id: str) -> Aftermath | None:
        def work() -> Aftermath | None:
            return self.journal.transaction(lambda c: compensations.let_go(c, run_id))

        return self._tell("let_go", run_id, work)

    def clean(self) -> Any:
        def work() -> Any:
            return clean_journal(
                self.journal.engine, KEPT, batch=MANY, lock_s=60.0, sleep=lambda _: None
            )

        return self._tell("clean", "", work)

    def members(self, step_id: str) -> list[Any]:
        return self.journal.read(lambda c: joins.members(c, step_id))

    def undoable(self, run_id: str) -> list[Undoable]:
        return self.journal.read(lambda c: compensations.finished(c, run_id))

    def waiting_for_a_person(self, run_id: str) -> Any:
        return self.journal.read(lambda c: approvals.waiting(c, run_id))

    def write(self, statement: str, **values: Any) -> object:
        """Let the world change by itself: what the clock would do, is done to the rows."""
        return self.journal.transaction(lambda c: c.execute(text(statement), values))


@dataclass(frozen=True, slots=True)
class _Claim:
    """As much of a claim as an operation of a batch says of it."""

    id: str
    token: int


def wakes_told(told: Sequence[Told]) -> set[str]:
    """Steps for which somebody was told to send a message."""
    found: set[str] = set()
    for t in told:
        answer = t.answer.aftermath if isinstance(t.answer, Finished) else t.answer
        if isinstance(answer, Aftermath):
            found |= {w.id for w in answer.wakes}
            found |= {w.id for w in getattr(answer, "members", [])}
        if isinstance(answer, Wake):
            found.add(answer.id)
        if isinstance(answer, list):
            found |= {w.id for w in answer if isinstance(w, Wake)}
    return found
