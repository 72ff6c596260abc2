"""Undoing a failed run, step by step: what finished last is undone first.

Sagas: H. Garcia-Molina, K. Salem, "Sagas", SIGMOD 1987. One that cannot be undone does not keep
those before it from being undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.patterns.members import ask_member
from agents.plan import Expand, MemberState
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.compensation import Compensation, CompensationReport, Undoing
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import CompensationFailedError

#: Errors that are told in one message; all of them are in its details.
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Undoable:
    """A step that succeeded and can be undone."""

    id: str
    agent: str | None
    compensation: Compensation


def key(step_id: str, turn: int) -> str:
    """Return the key of the member that undoes a step; it differs in each turn of the whole."""
    return f"{step_id}#{turn + 1}" if turn else step_id


def next_one(
    finished: Sequence[Undoable], members: Sequence[MemberState], turn: int
) -> Undoable | None:
    """The first of ``finished`` that was not undone, and not tried in this turn; None: no more."""
    by_key = {m.key: m for m in members}
    for step in finished:
        tried = by_key.get(key(step.id, turn))
        if _undone(by_key, step, turn) is None and not (tried and tried.state.final):
            return step
    return None


def undo(run_id: str, step: Undoable, told: tuple[JsonValue, JsonValue], turn: int) -> Expand:
    """Ask the compensation of one step, ``told`` being its input and output. It has none itself."""
    asked, answered = told
    order: JsonValue = {
        "run": run_id,
        "step": step.id,
        "agent": step.agent,
        "input": asked,
        "output": answered,
    }
    how = step.compensation
    member = ask_member(
        key(step.id, turn),
        how.agent,
        order,
        retry=how.retry,
        timeout_s=how.timeout_s,
        compensation=False,
    )
    return Expand(members=(member,), note={"step": step.id, "by": how.agent})


def conclusion(
    run_id: str,
    finished: Sequence[Undoable],
    members: Sequence[MemberState],
    uncertain: Sequence[Undoing],
    turn: int,
) -> Outcome:
    """Return the end: all was tried. With a failure it is dead, so it stands among the letters."""
    by_key = {m.key: m for m in members}
    done: list[Undoing] = []
    failed: list[Undoing] = []
    for step in finished:
        about = Undoing(step=step.id, agent=step.agent, by=step.compensation.agent)
        if _undone(by_key, step, turn) is not None:
            done.append(about)
        else:
            why = _error(by_key.get(key(step.id, turn)))
            failed.append(about.model_copy(update={"error": why}))
    report = CompensationReport(
        run=run_id, compensated=tuple(done), failed=tuple(failed), uncertain=tuple(uncertain)
    ).compact()
    usage = sum((m.outcome.usage for m in members if m.outcome is not None), Usage())
    if not failed:
        return Outcome(state=State.SUCCEEDED, value=report, usage=usage)
    error = CompensationFailedError(_message(run_id, finished, failed), report)
    return Outcome(state=State.DEAD, value=report, error=ErrorInfo.of(error), usage=usage)


def _undone(by_key: dict[str, MemberState], step: Undoable, turn: int) -> MemberState | None:
    tried = (by_key.get(key(step.id, t)) for t in range(turn + 1))
    return next((m for m in tried if m and m.state is State.SUCCEEDED), None)


def _error(member: MemberState | None) -> dict[str, JsonValue]:
    error = member.outcome.error if member is not None and member.outcome is not None else None
    if error is None:
        return {"kind": "unknown", "message": "it did not end"}
    return {"kind": error.kind, "message": error.message}


def _message(run_id: str, finished: Sequence[Undoable], failed: Sequence[Undoing]) -> str:
    told = [f"{f.agent} by {f.by}: {(f.error or {}).get('message')}" for f in failed[:_TOLD]]
    more = ["…"] if len(failed) > _TOLD else []
    return (
        f"{len(failed)} of {len(finished)} steps of the run {run_id} could not be undone. "
        + "; ".join([*told, *more])
    )
