"""Mends of the groups of faults that there were, as edits of the source that take them out.

Groups are numbered as they were found. Those that lie in what is not scheduled here, such as the
code around the journal, a pool of connections or a clock, name the tests that hold them instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = range(1, 23)


@dataclass(frozen=True, slots=True)
class Edit:
    """Other words for some that stand once in a module."""

    module: str
    old: str
    new: str = ""

    def __call__(self, source: str) -> str:
        """Return the module's source with them.

        Raises:
            LookupError: the words do not stand there, or more than once.
        """
        if (count := source.count(self.old)) != 1:
            raise LookupError(f"{count} times in {self.module}: {self.old!r}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mend:
    """One mend: how it is taken out, and what has to notice."""

    name: str  # of what happens without it
    group: int
    edits: Sequence[Edit]
    faults: Sequence[str] = ()  # of the cases that find it (see SHARP)
    breach: str = ""  # the begin of what is broken then; anything, if not said
    test: str = ""  # that holds it instead
    note: str = ""


_TESTS = "tests/unit/app"
_CLAIMS = "app.journal.steps.claims"
_DEAD = "app.journal.steps.dead_letters"
_PREPARED = "app.journal.writing.prepared"
_ONE_BY_ONE = (
    Edit(
        _CLAIMS,
        "    @property\n    def alone(self) -> bool:\n        return True\n\n",
    ),
    Edit(
        _CLAIMS,
        "        locks.lock(connection, [lock for place in places for lock in _locks(place)])\n",
    ),
)

MENDS = [
    Mend(
        "gives up, whatever was read",
        1,
        [
            Edit(
                _CLAIMS,
                "    if row.cancel_requested or row.attempts >= row.max_attempts:\n        return",
                "    if row.cancel_requested or not (state is State.READY and row.early):\n"
                "        return",
            )
        ],
        ["given up as it is given back"],
        "nothing is dead with attempts left",
    ),
    Mend(
        "ends what has moved on",
        2,
        [Edit("app.journal.steps.outcomes", "    if c.seen is None:\n", "    if c is not None:\n")],
        ["given up as it moves on"],
        "nothing is dead with attempts left",
    ),
    Mend(
        "tells an end that was not written",
        2,
        [Edit(_CLAIMS, "    if not aftermath.applied:\n        return None\n")],
        ["given up as it moves on"],
        "what was told is what the row says",
    ),
    Mend(
        "a member's end counts in any round",
        3,
        [
            Edit(
                _PREPARED,
                "(coalesce(steps.parent_id, ''), steps.round) IN (SELECT step_id, round FROM held)",
                "coalesce(steps.parent_id, '') IN (SELECT step_id FROM held)",
            )
        ],
        ["a member's end that no round counts"],
        "a join counts its members",
    ),
    Mend(
        "given back before its calls are written",
        4,
        [
            Edit(
                "app.execution.attempts.ends",
                "keep_trying(self.claim.id, lambda: blocking(step.calls.written))",
                "assert step",
            )
        ],
        test=f"{_TESTS}/execution/task/test_stops.py::test_a_step_that_is_given_back_keeps_its_finished_calls",
        note="in the attempt, before the journal is asked",
    ),
    Mend(
        "a cancelled step waits to be tried again",
        5,
        [
            Edit(
                "app.journal.steps.finishes",
                "                Step.cancel_requested.is_(False),\n",
            ),
            Edit(
                "app.journal.steps.finishes",
                "        cancelled = {(row.id, row.token) for row in found}\n",
                "        cancelled = {(row.id, -1) for row in found}\n",
            ),
        ],
        ["cancelled, and to be tried again in an hour"],
        "all that is open will be woken",
    ),
    Mend(
        "cleaning deletes by keys alone",
        6,
        [
            Edit(
                "app.journal.retention.chunks",
                "key.in_(keys) if where is None else key.in_(keys) & where(connection)",
                "key.in_(keys)",
            )
        ],
        ["cleaned while it lives"],
        "what is requeued begins anew",
    ),
    Mend(
        "cleaning asks for the end of the run alone",
        6,
        [Edit("app.journal.retention.cleanup", "            & is_quiet\n")],
        ["cleaned while it lives"],
        "only what is over is cleaned",
    ),
    Mend(
        "a later round locks its step first",
        7,
        [
            Edit(
                "app.journal.steps.expansions",
                "        locks.lock(connection, [(claim.id, claim.run_id)])\n    held =",
                "        locks.lock_steps(connection, [claim.id])\n    held =",
            )
        ],
        ["deadlocks"],
        "no deadlocks",
    ),
    Mend(
        "late joins are locked one by one",
        7,
        [
            Edit(
                "app.journal.steps.due",
                "    locks.lock(connection, ((row.step_id, row.run_id) for row in late))\n",
            ),
            Edit(
                "app.journal.steps.due",
                "        fired = joins.fire_if_late(",
                "        locks.lock(connection, [(row.step_id, row.run_id)])\n"
                "        fired = joins.fire_if_late(",
            ),
        ],
        ["deadlocks"],
        "no deadlocks",
    ),
    Mend(
        "claims of a batch share a transaction",
        7,
        _ONE_BY_ONE,
        ["deadlocks"],
        "no deadlocks",
    ),
    Mend(
        "what settles goes along with ends",
        7,
        [
            Edit(
                "app.journal.writing.writer",
                "[[o for o in batch if not o.final], [o for o in batch if o.final]]",
                "[[o for o in batch if not (o.final or o.lazy)],"
                " [o for o in batch if o.final or o.lazy]]",
            )
        ],
        ["deadlocks"],
        "no deadlocks",
    ),
    Mend(
        "a root's join is not locked first",
        7,
        [
            Edit(
                "app.journal.schema.locks",
                "    for ids in (roots, below):\n",
                "    for ids in (sorted({step_id for step_id, _ in wanted}),):\n",
            ),
            Edit(
                _PREPARED,
                "WHERE step_id = ANY ($8) ORDER BY step_id FOR UPDATE",
                "WHERE step_id = ANY ($8)",
            ),
        ],
        ["deadlocks"],
        "no deadlocks",
    ),
    Mend(
        "taken from whoever holds it by now",
        8,
        [
            Edit(
                _CLAIMS,
                '_LOST & (_S.worker_id == any_(bindparam("b_lost", type_=ARRAY(Text))))',
                '_LOST & (("" != any_(bindparam("b_lost", type_=ARRAY(Text)))))',
            ),
            *_ONE_BY_ONE,
        ],
        ["taken from a worker that came meanwhile"],
        "only what is left is taken over",
        note="claims that are alone in their transactions hold it too",
    ),
    Mend(
        "no connection in time is an error of the step",
        9,
        [
            Edit(
                "app.journal.schema.transactions",
                "    except PoolTimeoutError as error:\n",
                "    except ZeroDivisionError as error:\n",
            )
        ],
        test=f"{_TESTS}/execution/task/test_tries.py::test_connections_that_are_scarce_are_no_failure_of_a_step",
        note="actors have connections of their own",
    ),
    Mend(
        "the heartbeat waits for the pool",
        9,
        [
            Edit(
                "app.journal.journal",
                "            return held_transaction(self._heart, work)\n",
                "            return self.transaction(work)\n",
            )
        ],
        test=f"{_TESTS}/journal/tables/test_workers.py::TestAPoolThatIsEmpty",
        note="actors have connections of their own",
    ),
    Mend(
        "a backup has the key of the first call",
        10,
        [
            Edit(
                "app.execution.calls.identity",
                'f"{step_id}/{identity}"',
                'f"{step_id}/{seq}"',
            )
        ],
        test=f"{_TESTS}/execution/test_context.py::test_another_request_at_a_place_has_another_key",
        note="keys are made by the step, not by the journal",
    ),
    Mend(
        "requeued without a lock on its run",
        11,
        [
            Edit(
                _DEAD,
                "    _lock_run(connection, run_id)\n    if compensations",
                "    if compensations",
            )
        ],
        ["requeued and undone"],
        "failed runs are undone and no others",
    ),
    Mend(
        "a lapsed worker claims",
        12,
        [
            Edit(
                _PREPARED,
                '        AND NOT cancel_requested AND {LEASED.format("$2")}',
                "        AND NOT cancel_requested",
            ),
            Edit(
                _CLAIMS,
                '    if not connection.execute(LEASED, {"b_worker"',
                '    if not str({"b_worker"',
            ),
            Edit(_CLAIMS, "operations[0].worker_id}).scalar():", "operations[0].worker_id}):"),
        ],
        ["without a lease"],
        "only what is left is taken over",
    ),
    Mend(
        "a call begins under any claim",
        12,
        [
            Edit(
                _PREPARED,
                "(SELECT token FROM steps WHERE id = v.step_id AND state = $7) = v.token\n",
                "$7 IS NOT NULL\n",
            )
        ],
        ["without a lease"],
        "calls are made by who holds the step",
    ),
    Mend(
        "a requeue has all the time since the first one",
        13,
        [
            Edit(
                _DEAD,
                'before[0].get("timeout_s") if before else step.span_s',
                "step.span_s",
            )
        ],
        ["what a requeue keeps"],
        "what is requeued begins anew",
    ),
    Mend(
        "a requeue is asked to stop by what came before",
        13,
        [Edit(_DEAD, "        Step.cancel_requested: False,  # of before\n")],
        test=f"{_TESTS}/journal/steps/test_dead_letters.py::TestRequeuedAgain",
        note="that a step is dead and asked to stop, the mends of 2 rule out",
    ),
    Mend(
        "a claim does not know itself again",
        14,
        [Edit(_CLAIMS, "if operation.again and", "if not operation and")],
        ["answers that are lost"],
        "who holds a step knows it",
    ),
    Mend(
        "an answer does not know itself again",
        14,
        [
            Edit(
                "app.journal.steps.approvals",
                "applied=is_again(connection)",
                "applied=not is_again",
            )
        ],
        ["answers that are lost"],
        "one answer counts",
    ),
    Mend(
        "a requeue does not know itself again",
        14,
        [Edit(_DEAD, "        and is_again(connection)\n", "        and not is_again\n")],
        ["answers that are lost"],
        "a row ends once",
    ),
    Mend(
        "the clock is ahead by the time of its answer",
        15,
        [
            Edit(
                "app.journal.schema.engine",
                "connection.execute(select(now())).scalar_one(), time.monotonic()",
                "connection.execute(select(now())).scalar_one(), here",
            )
        ],
        test=f"{_TESTS}/journal/schema/test_engine.py::test_a_clock_that_is_answered_late_is_not_ahead",
        note="no statement takes time here",
    ),
    Mend(
        "what is given back may be another claim",
        16,
        [
            Edit(
                "app.journal.tables.workers",
                "            held &= Step.token == tokens[step_id]\n",
                "            held &= Step.token == Step.token\n",
            )
        ],
        ["given back under another claim"],
        "only what was meant is given back",
    ),
    Mend(
        "cancelled before it came, and settled",
        17,
        [
            Edit(
                "app.journal.steps.cancels",
                "    connection.execute(update(Step).where(Step.id == step_id)"
                ".values(settled=False))\n",
            )
        ],
        ["cancelled before it came"],
        "results are stored before they are settled",
    ),
    Mend(
        "an answer is noted before it counts",
        18,
        [
            Edit(
                "app.journal.steps.approvals",
                "    if not after.applied:",
                "    if after is None:",
            )
        ],
        ["two answers, two probes"],
        "one answer counts",
    ),
    Mend(
        "health is not replaced in one statement",
        18,
        [
            Edit(
                "app.journal.tables.health",
                "made.on_conflict_do_update(index_elements=[Health.target], set_=told)",
                "made if told else made",
            )
        ],
        ["two answers, two probes"],
        "no errors but documented ones",
    ),
    Mend(
        "a turn comes to who is just being cancelled",
        19,
        [
            Edit(
                "app.journal.steps.sessions",
                '        connection.execute(_LOCK, {**ids, "b_wanted": wanted})\n',
            )
        ],
        ["a turn that nobody has"],
        "somebody has the turn",
    ),
    Mend(
        "an end does not see who begins to wait",
        19,
        [
            Edit(
                "app.journal.steps.sessions",
                "_T.exchanges).where(_THIS).with_for_update()",
                "_T.exchanges).where(_THIS)",
            )
        ],
        ["a turn that nobody has"],
        "somebody has the turn",
    ),
    Mend(
        "two that ask at once do not see each other",
        20,
        [
            Edit(
                "app.journal.steps.expansions",
                "    if claim.token > 1 or o.of_team:",
                "    if claim.token > 1:",
            )
        ],
        ["more than a run may ask"],
        "a run asks as many as it may",
    ),
    Mend(
        "a run that is being cleaned stays over",
        21,
        [
            Edit(
                "app.journal.steps.inserts",
                "        begin_anew(connection, [row for run_id, row in roots.items() "
                "if run_id not in made])\n",
            )
        ],
        ["asked for again as it is cleaned"],
        "runs are as their roots",
    ),
    Mend(
        "a run begins with members of one before",
        21,
        [
            Edit(
                "app.journal.steps.remains",
                "        connection.execute(delete(table(Step)).where(left))\n",
            )
        ],
        ["asked for again as it is cleaned"],
        "a run has nothing of one before",
    ),
    Mend(
        "many that wait at once write what has moved on",
        22,
        [
            Edit(
                "app.journal.resting",
                "    .order_by(_S.id)\n    .with_for_update(key_share=True)\n",
            )
        ],
        ["many that wait at once as something comes"],
    ),
    Mend(
        "many that wait at once lock their joins last",
        22,
        [
            Edit(
                "app.journal.resting",
                "    locks.lock(connection, [(one.claim.id, one.claim.run_id) for one in rests])\n",
            )
        ],
        ["many that wait at once as something comes"],
        "no deadlocks",
    ),
    Mend(
        "who is told something waits for a join that is younger than his locks",
        22,
        [Edit("app.journal.schema.locks", "_JOINS.with_for_update(skip_locked=True)", "_LOCK")],
        ["many that wait at once as something comes"],
        "no deadlocks",
    ),
]
