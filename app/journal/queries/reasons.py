"""Why a step does not go on: it waits for something, or something should have moved it by now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, literal_column, select, union

from app.journal.schema.engine import now
from app.journal.schema.models import Join, Step, Wait, Worker
from app.journal.schema.parking import PARKED_FROM
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import STUCK_S


class Reason(NamedTuple):
    """The reason in words, and how much it matters: the least comes first."""

    rank: int
    text: str


#: Nothing moves it but a person who looks; a person is asked; it goes on by itself.
STUCK, ASKED, GOES_ON = range(3)

#: Of a step as ``why`` reads it, under names that no column of a tree has.
COLUMNS: tuple[Any, ...] = (
    Step.state.label("why_state"),
    Step.task.label("why_task"),
    Step.created_at.label("why_created_at"),
    Step.finished_at.label("why_finished_at"),
    Step.settled.label("why_settled"),
    Step.ready_at.label("why_ready_at"),
    Step.deadline_at.label("why_deadline_at"),
    Step.error.label("why_error"),
    Worker.lease_until.label("why_lease_until"),
    Wait.stream.label("why_stream"),
    Join.expected.label("why_expected"),
    Join.done.label("why_done"),
    Join.state.label("why_join"),
    Join.deadline_at.label("why_join_deadline_at"),
    now().label("why_now"),
)


def joined(query: Select[Any]) -> Select[Any]:
    """Join what the columns are of."""
    return (
        query.outerjoin(Worker, Worker.id == Step.worker_id)
        .outerjoin(Wait, Wait.step_id == Step.id)
        .outerjoin(Join, Join.step_id == Step.id)
    )


def _state(state: State) -> Any:
    """Return a condition that a partial index has in its words."""
    return Step.state == literal_column(f"'{state}'")


def stuck_steps(run_ids: Sequence[str] | None = None) -> Any:
    """Select the steps of these runs, or of all, that :func:`why` calls stuck, by partial indexes.

    They are few where all is well: each index holds live rows only.
    """
    late = now() - STUCK_S
    alive = select(Worker.id).where(Worker.lease_until > now())
    joins = select(Join.step_id).where(
        Join.state == literal_column("'open'"), Join.deadline_at < late
    )
    queued = ~select(Wait.step_id).where(Wait.step_id == Step.id).exists()
    found = (
        _state(State.READY) & (Step.ready_at < late) & queued,
        _state(State.RUNNING) & (Step.worker_id.not_in(alive) | (Step.deadline_at < late)),
        ~Step.settled & Step.finished_at.is_not(None) & (Step.finished_at < late),
        Step.id.in_(joins) & (Step.state == State.WAITING),
    )
    of = [] if run_ids is None else [Step.run_id.in_(run_ids)]
    return union(*(select(Step.id, Step.run_id).where(which, *of) for which in found))


def asking_steps() -> Any:
    """Select the steps that wait for a person, and since when."""
    asked: Any = literal_column(f"'{names.APPROVAL}'")
    query = select(Step.id, Step.run_id, Step.created_at)
    return query.where(Step.task == asked, _state(State.WAITING))


def why(row: Any) -> Reason | None:
    """The reason for which a step does not go on; None where it ended, or runs as it should."""
    if row.why_finished_at is not None:
        since = row.why_now - row.why_finished_at
        late = not row.why_settled and since > STUCK_S
        return Reason(STUCK, f"its result is not stored for {_s(since)}") if late else None
    return {
        State.RUNNING: _running,
        State.READY: _ready,
        State.WAITING: _waiting,
    }[row.why_state](row)


def _running(row: Any) -> Reason | None:
    if row.why_lease_until is None:
        return Reason(STUCK, "its worker is gone")
    if (since := row.why_now - row.why_lease_until) > 0:
        return Reason(STUCK, f"its worker is gone, its lease ended {_s(since)} ago")
    over = row.why_now - (row.why_deadline_at or row.why_now)
    return Reason(STUCK, f"it runs {_s(over)} past its deadline") if over > STUCK_S else None


def _ready(row: Any) -> Reason:
    if row.why_stream is not None:
        name = row.why_stream.partition("/")[2] or row.why_stream
        return Reason(GOES_ON, f"another run holds session {name}")
    if row.why_ready_at > PARKED_FROM:
        return Reason(GOES_ON, "others of its map run, as many as may at a time")
    if (left := row.why_ready_at - row.why_now) > 0:
        after = f", after {row.why_error['kind']}" if row.why_error else ""
        return Reason(GOES_ON, f"it goes on in {_s(left)}{after}")
    rank = STUCK if -left > STUCK_S else GOES_ON
    return Reason(rank, f"no worker has taken it for {_s(-left)}")


def _waiting(row: Any) -> Reason:
    if row.why_task == names.APPROVAL:
        return Reason(ASKED, f"a person is asked for {_s(row.why_now - row.why_created_at)}")
    if row.why_task == names.WAIT:
        return Reason(GOES_ON, "it waits for a time")
    over = row.why_now - (row.why_join_deadline_at or row.why_now)
    if row.why_join == "open" and over > STUCK_S:
        return Reason(STUCK, f"its members' deadline passed {_s(over)} ago")
    if row.why_expected is None:
        return Reason(GOES_ON, "it waits")
    return Reason(GOES_ON, f"{row.why_done:,} of {row.why_expected:,} members have ended")


def _s(seconds: float) -> str:
    """Return a time in the largest unit of which there are two."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
