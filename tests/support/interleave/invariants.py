"""Checks of what has to hold after each schedule, whatever its order was.

Each check takes what is known of a schedule and yields what is broken, in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.journal.schema.rows import Aftermath, Claimed, Finished, Unheld
from app.journal.steps.calls import Begun
from app.journal.steps.finishes import Postponed
from celery_agents import names
from celery_agents.contracts.compensation import compensation_id
from celery_agents.contracts.flows.entries import HISTORY, SIGNALS
from celery_agents.contracts.outcome import State
from celery_agents.errors import AgentsError, JournalUnavailableError
from tests.support.interleave.ground import GRACE_S, World
from tests.support.interleave.hands import Told, wakes_told
from tests.support.interleave.stage import Trace

FINAL = frozenset(s.value for s in State if s.final)
#: Of clocks that are read one after the other.
SLACK_S = 5.0
_DELIBERATE = "compensation_failed"  # a pattern says itself that it is dead


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a step's row, as a trigger saw it."""

    id: str
    old: dict[str, Any]
    new: dict[str, Any]
    old_alive: bool
    new_alive: bool
    at: float

    @property
    def ends(self) -> bool:
        return self.new["state"] in FINAL and self.old["state"] not in FINAL

    @property
    def reopens(self) -> bool:
        return self.old["state"] in FINAL and self.new["state"] not in FINAL

    @property
    def claims(self) -> bool:
        return bool(self.new["state"] == "running" and self.new["token"] > self.old["token"])


@dataclass
class Story:
    """All that is known of one schedule."""

    world: World
    told: Sequence[Told]
    trace: Trace
    rows: dict[str, list[dict[str, Any]]]
    seen: Sequence[Any]
    clock: float
    lossy: bool = False  # some answer did not come

    @cached_property
    def steps(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.rows["steps"]}

    @cached_property
    def began(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.world.rows["steps"]}

    @cached_property
    def joins(self) -> dict[str, dict[str, Any]]:
        return {row["step_id"]: row for row in self.rows["joins"]}

    @cached_property
    def lapsed(self) -> set[str]:
        """Workers whose leases have run out from the beginning."""
        workers = self.world.rows["workers"]
        return {row["id"] for row in workers if row["lease_until"] < self.world.clock}

    @cached_property
    def changes(self) -> list[Change]:
        return [
            Change(i, s["old"], s["new"], s["old_alive"], s["new_alive"], s["at"])
            for what, i, _, s in self.seen
            if what == "step"
        ]

    @cached_property
    def waiting(self) -> set[str]:
        """Steps that wait for a turn that another one has."""
        turns = {row["holder"] for row in self.rows["sessions"]}
        return {row["step_id"] for row in self.rows["waits"]} - turns

    def asked(self, *whats: str) -> list[Told]:
        return [t for t in self.told if t.what in whats]

    def is_new(self, row: dict[str, Any]) -> bool:
        """True of a step's row that was made meanwhile, in place of one that was cleaned or not."""
        old = self.began.get(row["id"])
        if old is None:
            return True
        age_s, had_s = self.clock - row["created_at"], self.world.clock - old["created_at"]
        return bool(age_s < had_s - SLACK_S)

    def name(self, step_id: str) -> str:
        """Return the world's name for a step."""
        return next((n for n, i in self.world.ids.items() if i == step_id), step_id)


Check = Callable[[Story], Iterator[str]]
CHECKS: list[Check] = []


def check(work: Check) -> Check:
    CHECKS.append(work)
    return work


def broken(story: Story) -> list[str]:
    """Everything that does not hold."""
    return [f"{c.__name__.replace('_', ' ')}: {what}" for c in CHECKS for what in c(story)]


@check
def no_deadlocks(s: Story) -> Iterator[str]:
    if s.trace.deadlocks:
        yield f"{s.trace.deadlocks}"


@check
def no_errors_but_documented_ones(s: Story) -> Iterator[str]:
    for actor, error in s.trace.errors.items():
        if not isinstance(error, AgentsError) or isinstance(error, JournalUnavailableError):
            yield f"actor {actor}: {type(error).__name__}: {error}"


@check
def a_row_ends_once(s: Story) -> Iterator[str]:
    again = Counter(t.step_id for t in s.asked("requeue") if not isinstance(t.answer, Exception))
    for c in s.changes:
        if c.old["state"] in FINAL and c.new["state"] in FINAL:
            yield f"{s.name(c.id)} from {c.old['state']} to {c.new['state']}"
        undoes = c.id == compensation_id(c.new["run_id"])
        if c.reopens and not undoes:
            again[c.id] -= 1
            if again[c.id] < 0:
                yield f"{s.name(c.id)} was opened again, and nobody was told so"
    for step_id, left in again.items():
        if left > 0 and not any(c.reopens and c.id == step_id for c in s.changes):
            yield f"{s.name(step_id)} was to be opened again, and was not"


@check
def what_is_requeued_begins_anew(s: Story) -> Iterator[str]:
    for t in s.asked("requeue"):
        if not isinstance(t.answer, Exception) and t.step_id not in s.steps:
            yield f"{s.name(t.step_id)} was told to run again, and is gone"
    for c in s.changes:
        if not c.reopens:
            continue
        if c.new["cancel_requested"]:
            yield f"{s.name(c.id)} is still asked to stop"
        due = c.new["deadline_at"]
        if due is not None and due - c.at > 50 + SLACK_S:
            yield f"{s.name(c.id)} has {due - c.at:.0f} s, at first it had 50"


@check
def what_was_told_is_what_the_row_says(s: Story) -> Iterator[str]:
    for t in s.told:
        row = s.steps.get(t.step_id)
        mine = [c for c in s.changes if c.id == t.step_id]
        ends = {c.new["state"] for c in mine if c.ends}
        if isinstance(t.answer, Finished):
            begun = s.began.get(t.step_id, {}).get("state")
            if t.answer.outcome.state not in ends | ({begun} & FINAL):
                yield (
                    f"{s.name(t.step_id)} was told to be {t.answer.outcome.state}, "
                    f"it is {row and row['state']}"
                )
        if t.what == "finish" and isinstance(t.answer, Aftermath):
            claim, outcome = t.about
            ours = [c for c in mine if c.ends and c.old["token"] == claim.token]
            ours = [c for c in ours if c.old["state"] == "running"]
            if t.answer.applied and [c.new["state"] for c in ours] != [outcome.state]:
                yield f"{s.name(t.step_id)} was told to have ended as {outcome.state}, {ours}"
        instead = t.answer.outcome if isinstance(t.answer, Postponed) else None
        if instead is not None and instead.state not in ends:
            yield f"{s.name(t.step_id)} was told to have ended instead of being postponed"
        if t.what == "claim" and isinstance(t.answer, Claimed):
            at = [c for c in mine if c.claims and c.new["token"] == t.answer.token]
            before = s.began.get(t.step_id, {}).get("token", t.answer.token)
            known = s.lossy and t.answer.token <= before  # of an answer that did not come
            if not (at or known or row is None or s.is_new(row)):
                yield f"{s.name(t.step_id)} was told to be claimed under {t.answer.token}"


@check
def who_holds_a_step_knows_it(s: Story) -> Iterator[str]:
    knows = {(c.id, c.token) for c in s.world.claims.values()}
    knows |= {(t.step_id, t.answer.token) for t in s.told if isinstance(t.answer, Claimed)}
    for row in s.steps.values():
        if row["state"] == "running" and (row["id"], row["token"]) not in knows:
            yield f"{s.name(row['id'])} under {row['token']}: nobody was told"


@check
def a_claim_is_told_to_one(s: Story) -> Iterator[str]:
    told = Counter((t.step_id, t.answer.token) for t in s.told if isinstance(t.answer, Claimed))
    told.update((c.id, c.token) for c in s.world.claims.values())
    for (step_id, token), times in told.items():
        if times > 1:
            yield f"{s.name(step_id)} under {token} was told to {times}"


@check
def only_what_is_left_is_taken_over(s: Story) -> Iterator[str]:
    for c in s.changes:
        if c.claims and c.old["state"] == "running" and c.old_alive:
            yield f"{s.name(c.id)} was taken from a worker that lives"
        if c.claims and not c.new_alive and c.new["worker_id"] in s.lapsed:
            # One that runs out as its claim is under way might as well do so right after it.
            yield f"{s.name(c.id)} was claimed without a lease"
        if c.claims and c.new["attempts"] > c.new["max_attempts"]:
            yield f"{s.name(c.id)} was claimed for attempt {c.new['attempts']}"


@check
def only_what_was_meant_is_given_back(s: Story) -> Iterator[str]:
    meant = {(t.step_id, t.about.token) for t in s.asked("give_back")}
    for t in s.asked("postpone"):
        if isinstance(t.answer, Aftermath) and (t.answer.applied or s.lossy):
            meant.add((t.step_id, t.about[0].token))
    meant |= {(t.step_id, t.about.token) for t in s.asked("hold") if t.answer is Unheld.WAITS}
    left = {t.step_id for t in s.asked("leave")}
    for c in s.changes:
        if (c.old["state"], c.new["state"]) != ("running", "ready") or c.reopens:
            continue
        undoes = c.id == compensation_id(c.new["run_id"])  # it begins anew
        if (c.id, c.old["token"]) not in meant and c.old["worker_id"] not in left and not undoes:
            yield f"{s.name(c.id)} under {c.old['token']}"


@check
def nothing_is_dead_with_attempts_left(s: Story) -> Iterator[str]:
    for c in s.changes:
        if not c.ends or c.new["state"] != State.DEAD:
            continue
        kind = (c.new["outcome"].get("error") or {}).get("kind")
        left = c.old["attempts"] < c.old["max_attempts"]
        # A lease that had run out, and is new again, saves nothing that was just being given up.
        held = c.old_alive and c.old["worker_id"] not in s.lapsed
        if kind != _DELIBERATE and (left or held):
            yield (
                f"{s.name(c.id)} was {c.old['state']} after {c.old['attempts']} of "
                f"{c.old['max_attempts']}, its worker {'alive' if c.old_alive else 'gone'}"
            )


def _ended(s: Story, join: dict[str, Any]) -> list[dict[str, Any]]:
    mine = [m for m in s.steps.values() if m["parent_id"] == join["step_id"]]
    return [m for m in mine if m["round"] == join["round"] and m["state"] in FINAL]


@check
def a_join_counts_its_members(s: Story) -> Iterator[str]:
    for join in s.joins.values():
        parent = s.steps[join["step_id"]]
        if join["state"] != "open" or parent["state"] != "waiting" or join["policy"] == "any":
            continue
        name, ended = s.name(join["step_id"]), _ended(s, join)
        succeeded = sum(m["state"] == "succeeded" for m in ended)
        if (join["done"], join["succeeded"]) != (len(ended), succeeded):
            told = f"{join['done']} ended, {join['succeeded']} well"
            yield f"{name} counted {told}; it is {len(ended)}, {succeeded}"
        members = [m for m in s.steps.values() if m["parent_id"] == join["step_id"]]
        here = [m for m in members if m["round"] == join["round"]]
        if join["expected"] != len(here):
            yield f"{name} expects {join['expected']} members, {len(here)} are of its round"
        over = len(ended) >= join["expected"]
        over |= join["policy"] == "first" and succeeded > 0
        over |= join["policy"] == "unbroken" and succeeded < len(ended)
        over |= join["policy"] == "decided" and any(m["state"] == "failed" for m in members)
        if over:
            yield f"{name} is complete, and did not fire"


def _is_over(s: Story, join: dict[str, Any]) -> bool:
    """Return whether nobody is left whom a join waits for; each end of one that is any fires it.

    One that has no members waits for a word.
    """
    if join["policy"] != "any":
        return len(_ended(s, join)) >= int(join["expected"])
    mine = [m for m in s.steps.values() if m["parent_id"] == join["step_id"]]
    return bool(mine) and all(m["state"] in FINAL for m in mine)


@check
def a_flow_goes_on_with_its_line(s: Story) -> Iterator[str]:
    told = {e["seq"] for e in s.rows["entries"] if e["stream"].startswith(HISTORY)}
    asked = [m for m in s.steps.values() if m["member"] == "next"]
    if len(asked) != len(told - {0}):
        yield f"it asked {len(asked)} more, its history has {sorted(told)}"
    heard = {e["stream"] for e in s.rows["entries"]}
    for row in s.steps.values():
        if SIGNALS + row["id"] in heard and row["state"] == "waiting":
            yield f"{s.name(row['id'])} waits, and was told a word"


@check
def all_that_is_open_will_be_woken(s: Story) -> Iterator[str]:
    told = wakes_told(s.told)
    waiting = s.waiting
    for row in s.steps.values():
        name, join = s.name(row["id"]), s.joins.get(row["id"])
        if row["state"] == "ready" and row["id"] not in waiting:
            yield from _ready(s, row, told)
        if row["state"] == "waiting" and row["task"] != names.APPROVAL:
            if join is None or join["state"] != "open":
                yield f"{name} waits, its join is {join and join['state']}"
            elif join["deadline_at"] is None and _is_over(s, join):
                yield f"{name} waits for members that have all ended"
        if row["state"] == "waiting" and row["cancel_requested"]:
            yield f"{name} was cancelled, and waits"


def _ready(s: Story, row: dict[str, Any], told: set[str]) -> Iterator[str]:
    name, due_s = s.name(row["id"]), row["wake_at"] - s.clock
    if row["cancel_requested"] and due_s > GRACE_S + SLACK_S:
        yield f"{name} was cancelled, and waits {due_s:.0f} s to be looked at"
    made = [c for c in s.changes if c.id == row["id"] and c.new["state"] == "ready"]
    new = row["id"] not in s.began
    inserted = {t.step_id for t in s.asked("insert")}
    due = row["ready_at"] <= s.clock and (made or new) and due_s > 1
    if due and row["id"] not in told | inserted and not s.lossy:  # recovery finds it then
        yield f"{name} is ready, and nobody was told to wake it"


@check
def sessions_have_whole_exchanges(s: Story) -> Iterator[str]:
    for session in s.rows["sessions"]:
        stream = f"session/{session['name']}"
        mine = [e for e in s.rows["entries"] if e["stream"] == stream]
        places = sorted(e["seq"] for e in mine)
        if places != [*range(session["exchanges"])]:
            yield f"{session['name']} has {places} of {session['exchanges']}"
        runs = Counter(e["run_id"] for e in mine)
        for run_id, times in runs.items():
            state = s.steps.get(run_id, {}).get("state", State.SUCCEEDED)
            if times > 1 or state != State.SUCCEEDED:
                yield f"{s.name(run_id)}, which {state}, stands there {times} times"


@check
def somebody_has_the_turn(s: Story) -> Iterator[str]:
    holders = {f"session/{row['name']}": row["holder"] for row in s.rows["sessions"]}
    for row in s.rows["waits"]:
        if s.steps[row["step_id"]]["state"] in FINAL:
            continue
        holder = holders.get(row["stream"])
        if holder is None or s.steps[holder]["state"] in FINAL:
            yield f"{s.name(row['step_id'])} waits for {holder and s.name(holder)}"


@check
def a_cancellation_holds(s: Story) -> Iterator[str]:
    for t in s.asked("cancel"):
        row = s.steps.get(t.step_id)
        if not isinstance(t.answer, Aftermath) or not t.answer.applied or row is None:
            continue
        reopened = any(c.reopens and c.id == t.step_id for c in s.changes)
        holds = row["state"] in FINAL or row["cancel_requested"]
        if row["task"] == names.FLOW:  # it is told so, and ends itself
            holds |= row["state"] != "waiting"
        if not holds and not reopened:
            yield f"{s.name(t.step_id)} is {row['state']}"


@check
def runs_are_as_their_roots(s: Story) -> Iterator[str]:
    runs = {row["id"]: row for row in s.rows["runs"]}
    for row in s.steps.values():
        if row["parent_id"] is not None or row["id"] != row["run_id"]:
            continue
        run = runs.get(row["id"])
        right = row["state"] if row["state"] in FINAL else "open"
        if run is None or run["state"] != right:
            yield f"{s.name(row['id'])} is {row['state']}, its run {run and run['state']}"


@check
def failed_runs_are_undone_and_no_others(s: Story) -> Iterator[str]:
    for row in s.rows["runs"]:
        undoing = s.steps.get(compensation_id(row["id"]))
        steps = [r for r in s.steps.values() if r["run_id"] == row["id"]]
        done = [
            r["id"] for r in steps if r["state"] == "succeeded" and r["outcome"].get("compensation")
        ]
        failed = row["state"] not in {"open", State.SUCCEEDED}
        name = s.name(row["id"])
        if failed and done and undoing is None:
            yield f"{name} failed, and nothing undoes it"
        if not failed and undoing is not None and undoing["state"] not in FINAL:
            yield f"{name} is {row['state']}, and is being undone"
        if undoing is not None and undoing["state"] == State.SUCCEEDED:
            report = (undoing["outcome"].get("value") or {}).get("compensated", [])
            if missing := set(done) - {u["step"] for u in report}:
                yield f"{name} is undone, {[s.name(i) for i in missing]} are not"


@check
def a_run_asks_as_many_as_it_may(s: Story) -> Iterator[str]:
    """No more; and nobody is refused while there is room."""
    for root in s.steps.values():
        most = root["payload"].get("kwargs", {}).get("max_steps")
        if most is None:
            continue
        below = [row for row in s.steps.values() if row["run_id"] == root["id"] != row["id"]]
        refused = [row for row in below if _is_refused(row)]
        asked = len(below) - len(refused)
        if asked > most or (refused and asked < most):
            yield f"{s.name(root['id'])}: {asked} of {most} were asked, {len(refused)} refused"


def _is_refused(row: dict[str, Any]) -> bool:
    error = (row["outcome"] or {}).get("error") or {}
    return bool(error.get("kind") == "limit")


@check
def results_are_stored_before_they_are_settled(s: Story) -> Iterator[str]:
    settled = {t.step_id for t in s.asked("settle")}
    for row in s.steps.values():
        if row["parent_id"] is None and row["state"] in FINAL and row["settled"]:
            before = s.began.get(row["id"], {})
            if row["id"] not in settled and not before.get("settled"):
                yield f"{s.name(row['id'])}: nobody will store its result"


@check
def calls_are_made_by_who_holds_the_step_and_once(s: Story) -> Iterator[str]:
    begun = Counter((t.step_id, t.about.token) for t in s.asked("start_call"))
    for what, step_id, _, seen in s.seen:
        # Of several copies of a begin one that waits for another's decides by what it saw before
        # that. It is as one that began a moment sooner: who lost the step, and does not know it,
        # calls under the key that whoever has the step now calls under.
        copied = what == "call" and begun[step_id, seen["new"]["token"]] > 1
        if what == "call" and not seen["held"] and not copied:
            yield f"{s.name(step_id)}: begun under {seen['new']['token']}, which is over"
        if what == "call" and seen["known"]:  # its end was committed, and not just under way
            yield f"{s.name(step_id)}: a finished call was made again"
    calls = {(c["step_id"], c["seq"], c["token"]): c for c in s.rows["calls"]}
    for t in s.asked("start_call", "finish_call"):
        known = calls.get((t.step_id, 0, t.about.token))
        if t.answer not in {Begun.YES, None} or t.step_id not in s.steps:  # it was refused
            continue
        if known is None:
            yield f"{s.name(t.step_id)}: a call was made that no row tells of"
        elif t.what == "finish_call" and known["finished_at"] is None:
            yield f"{s.name(t.step_id)}: a call is over, its row does not say so"


@check
def one_answer_counts(s: Story) -> Iterator[str]:
    for step_id in {t.step_id for t in s.asked("approve")}:
        counted = [
            t.about
            for t in s.asked("approve")
            if t.step_id == step_id and isinstance(t.answer, Aftermath) and t.answer.applied
        ]
        events = [
            e["data"]["option"]
            for e in s.rows["events"]
            if e["step_id"] == step_id and e["kind"] == "approved"
        ]
        if events != counted:
            yield f"{s.name(step_id)}: {counted} counted, {events} are told of"


@check
def only_what_is_over_is_cleaned(s: Story) -> Iterator[str]:
    for what, step_id, _, seen in s.seen:
        if what == "cleaned":
            old, name = seen["old"], s.name(step_id)
            if old["state"] not in FINAL or not old["settled"]:
                yield f"{name} was {old['state']}{'' if old['settled'] else ', not settled'}"
            elif seen["open"]:
                yield f"{name} was of a run of which {seen['open']} steps were open"
    for row in s.steps.values():
        if row["parent_id"] in s.began and row["parent_id"] not in s.steps:
            yield f"{s.name(row['id'])} is left without its parent"


@check
def a_run_has_nothing_of_one_before(s: Story) -> Iterator[str]:
    """Of what cleaning had left of one with its id."""
    began = {row["id"]: row["created_at"] for row in s.rows["runs"]}
    for row in s.steps.values():
        if row["created_at"] < began.get(row["run_id"], 0.0) - SLACK_S:
            yield f"{s.name(row['id'])} is older than its run"
