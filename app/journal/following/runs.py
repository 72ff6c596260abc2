"""Subscriptions that start runs: each entry one, whoever serves, and whenever it dies.

The rows of the runs and the move of the cursor are one transaction, under the lock of the cursor's
row, which comes before all others; the run's id follows from the entry's position, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from app.journal.following import depths, poison, subscribed
from app.journal.following.subscribed import SubscriptionKey
from app.journal.queries.entries import Position, behind, entry_of
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, table
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import NewStep, Wake, entry_run_id, keyed_run_id
from app.journal.schema.sealed import sealed_by, sealed_step
from app.journal.steps.inserts import insert_steps
from app.journal.steps.schedules import Make
from celery_agents.contracts.flows.subscriptions import SubscriptionRule
from celery_agents.errors import AgentsError, InvalidPayloadError

_E = table(Entry).c
#: Entries of one transaction.
PAGE = 200


@dataclass(frozen=True, slots=True)
class Starting:
    """All that starting runs needs of the process that does it."""

    make: Make
    wake_grace_s: float
    letters_max: int
    #: Runs that a queue has room for.
    room: Callable[[str], int] = lambda _: PAGE


@dataclass(slots=True)
class RunsStarted:
    """The outcome of a look at a subscription."""

    wakes: list[Wake] = field(default_factory=list)
    #: Whether it may have more to be served at once.
    more: bool = False
    #: Why an entry starts no run: it is tried again, or was passed over.
    error: AgentsError | None = None
    #: The queue of its runs, which has no room for any.
    full: str | None = None


def serve(connection: Connection, key: SubscriptionKey, serving: Starting) -> RunsStarted:
    """Start the runs of a subscription's next entries, unless another process just does."""
    at = read_clock(connection)
    row = subscribed.held(connection, key, at, "runs")
    if row is None:
        return RunsStarted()
    queue = row.target["queue"]
    if (room := serving.room(queue)) <= 0:
        return RunsStarted(full=queue)  # it keeps its turn, which is before that of who was served
    here, which = Position(row.xid, row.pos), subscribed.which(row)
    rows, last = behind(connection, key.tenant, which, here, min(PAGE, room))
    steps, error = _made(connection, row, rows, serving, depths.of(connection, rows))
    why = None if error is None else error.message
    too_deep = isinstance(error, depths.TooDeepError)
    page, most = poison.PageEnd(rows, last, len(steps), why, too_deep), serving.letters_max
    values = poison.after_page(connection, row, page, at=at, letters_max=most)
    subscribed.write(connection, key, values, at)
    return RunsStarted(_inserted(connection, steps, at, serving), bool(rows), error)


def start_again(
    connection: Connection, key: SubscriptionKey, pos: int, serving: Starting
) -> list[Wake]:
    """Start the run of an entry that was passed over; none where there is one of it.

    Raises:
        InvalidPayloadError: the subscription is gone, or the entry; or it fails again.
    """
    row = subscribed.of_name(connection, key)
    columns = select(*_E).where(_E.pos == pos, _E.tenant == key.tenant)
    entry = connection.execute(columns).first()
    if row is not None and row.serves != "runs":
        told = f"{key.name} is a projection: rebuild it, and it gets the entry in its place."
        raise InvalidPayloadError(told)
    if row is None or entry is None:
        what = f"the subscription {key.name}" if row is None else "the entry"
        raise InvalidPayloadError(f"It cannot be served again: {what} is gone.")
    steps, error = _made(connection, row, [entry], serving, [0])  # a person says so: it is new
    if error is not None:
        raise error
    return _inserted(connection, steps, read_clock(connection), serving)


def _made(
    connection: Connection,
    row: Any,
    entries: list[Any],
    serving: Starting,
    after: list[int],
) -> tuple[list[NewStep], AgentsError | None]:
    """The rows of the runs of entries, in their order, up to one that fails; and why it does.

    Raises:
        AgentsError: the subscription itself cannot be read here; no entry is to blame.
    """
    seals, made = sealed_by(connection), list[NewStep]()
    key, rule = SubscriptionKey(row.tenant, row.name), SubscriptionRule.read(row.rule)
    target = subscribed.target_of(connection, row)
    try:
        for entry, depth in zip(entries, after, strict=True):
            depths.check(depth, entry)
            event = entry_of(seals, key.tenant, entry)
            if (named := rule.key_of(event)) is None:
                run_id = entry_run_id(*key, entry.pos, entry.at)
            else:
                run_id = keyed_run_id(*key, named)
            how = {"priority": rule.priority_of(event, target.priority)}
            asked = target.model_copy(update={**how, "args": [rule.input_of(event)]})
            new = serving.make(asked, run_id, key.tenant)
            made.append(depths.at(sealed_step(seals, new), depth + 1))
    except AgentsError as error:
        return made, error
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        return made, InvalidPayloadError(f"{type(error).__name__}: {error}")
    return made, None


def _inserted(
    connection: Connection, steps: list[NewStep], at: float, serving: Starting
) -> list[Wake]:
    """Write the rows of runs; the messages for those that are new."""
    new = {step.id: step for step in reversed(steps)}  # of the same id the first one
    if not new:
        return []
    rows = [row_of(step, at, serving.wake_grace_s) for step in new.values()]
    ids = insert_steps(connection, rows)
    return [step.wake() for step in steps if new[step.id] is step and step.id in ids]
