"""Cancelling a step with all that hangs below it; the row is the truth of it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, Engine, select, update

from agents.flows.history import CLEANUP_S
from app.journal.schema import locks
from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import Entry, Step, table
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import FINAL, Aftermath, EndedStep, NewStep
from app.journal.schema.transactions import in_transaction
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps import joins
from app.journal.steps.anyhow import CANCEL
from app.journal.steps.finishes import event
from app.journal.steps.inserts import insert_steps
from app.journal.steps.outcomes import Conclusion, conclude
from app.journal.steps.signals import ask_to_end, told
from celery_agents import names
from celery_agents.contracts.flows.entries import SIGNALS
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import StepCancelledError


def stop(engine: Engine, step_id: str, rules: joins.Rules, tenant: str = "") -> Aftermath:
    """Cancel a step: a flow that is under way ends itself, others are ended.

    A flow whose time to clean up is over has not done so: it is ended, too.
    """
    asked = told(engine, lambda c: ask_to_end(c, step_id, rules))
    cleans = asked.reply == "taken" or (
        asked.reply == "known" and in_transaction(engine, lambda c: _cleans_up(c, step_id))
    )
    if cleans:
        return asked.aftermath
    return in_transaction(engine, lambda c: cancel(c, step_id, rules, tenant))


def _cleans_up(connection: Connection, step_id: str) -> bool:
    """Return whether a flow was cancelled so lately that it may still clean up."""
    lately = _E.at > now() - 2 * CLEANUP_S  # whoever has it ends it after once that time
    of_flow = (_E.stream == SIGNALS + step_id) & (_E.kind == CANCEL) & lately
    found = select(_E.seq).where(_S.id == step_id, _E.tenant == _S.tenant, of_flow)
    return connection.execute(found.where(_S.state.not_in(FINAL))).first() is not None


def cancel(connection: Connection, step_id: str, rules: joins.Rules, tenant: str = "") -> Aftermath:
    """End a step that does not run, ask one that runs to stop.

    One that has no row yet gets a cancelled one, of this ``tenant``, which its message will find.
    """
    elapsed = (now() - Step.started_at).label("elapsed_s")
    found = select(Step.state, Step.run_id, Step.parent_id, elapsed).where(Step.id == step_id)
    row = connection.execute(found).first()
    if row is None and (ended := _forestall(connection, step_id, rules.wake_grace_s, tenant)):
        return Aftermath(ended=[ended])
    if row is not None:  # else its own claim made one first, which runs and has no join
        locks.lock(connection, [(row.parent_id, row.run_id), (step_id, row.run_id)])
    held = found.with_for_update(key_share=True)
    row = connection.execute(held).first()  # a claim may have come between, or cleaning
    if row is None or State(row.state).final:
        return Aftermath(applied=False)
    connection.execute(event(row.run_id, step_id, "cancel", {}))
    if row.state == State.RUNNING:
        connection.execute(update(Step).where(Step.id == step_id).values(cancel_requested=True))
        asked = Aftermath(cancels=[step_id])
        asked.add(joins.drop_members(connection, [step_id], _CANCELLED))
        return asked
    error = ErrorInfo.of(StepCancelledError())
    outcome = Outcome(state=State.CANCELLED, error=error, duration_s=row.elapsed_s)
    ending = Conclusion(step_id, None, outcome, row.parent_id, row.run_id)
    below = joins.drop_members(connection, [step_id], _CANCELLED)
    result = conclude(connection, [ending], rules)[0]
    result.add(below)
    result.wakes += [
        wake_of(w)
        for w in connection.execute(
            select(*WAKE_COLUMNS).where(Step.id == step_id, Step.settled.is_(False))
        )
    ]
    return result


def _forestall(
    connection: Connection, step_id: str, wake_grace_s: float, tenant: str
) -> EndedStep | None:
    """Make a cancelled row; return None when the step's own claim made one first."""
    of_none = NewStep(step_id, step_id, names.ASK, names.QUEUE, payload={}, max_attempts=1)
    step = replace(of_none, tenant=tenant)
    row = row_of(step, read_clock(connection), wake_grace_s)
    if not insert_steps(connection, [row]):
        return None
    outcome = joins.end_early(connection, step_id, State.CANCELLED)
    # Its own message may be lost: recovery stores its result then.
    connection.execute(update(Step).where(Step.id == step_id).values(settled=False))
    joins.end_runs(connection, [(step_id, State.CANCELLED, Usage())])
    return EndedStep(step.task, None, outcome, is_root=True)


_CANCELLED = State.CANCELLED
_E = table(Entry).c
_S = table(Step).c
