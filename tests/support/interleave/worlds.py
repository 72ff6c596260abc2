"""Worlds that schedules begin with: small runs, each amid something.

Short names of steps: r the root, s one alone, u what undoes r; a, b, … members; below w: w/a, ….
A, B, C, D are workers that live; L is one whose lease has run out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from agents.plan import AwaitedAny, Expand, JoinPolicy, Member
from app.journal.schema.rows import Claimed, Finished, NewEntry, derived_id
from app.journal.steps import dead_letters
from celery_agents import names
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.flows.entries import HISTORY
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from tests.support.interleave.ground import GRACE_S, Ground, World
from tests.support.interleave.hands import MANY, SAID, SESSION
from tests.unit.app.journal.support import DONE, FAILED, TIRED, member, plan, step

LATER_S = 3600.0
DAY_S = 86_400.0
UNDOABLE = DONE.model_copy(update={"compensation": Compensation(agent="undo")})
LOST = ErrorInfo(kind="dead", message="given up")
DEAD = Outcome(state=State.DEAD, error=LOST, attempts=1)
SOON_S = 20


class Builder:
    """Makes the rows of a world by the journal's own operations."""

    def __init__(self, ground: Ground, world: World) -> None:
        self.ground = ground
        self.world = world
        self.journal = ground.journals[0]

    def as_(self, who: str) -> Builder:
        self.journal.me = self.ground.who[who]
        return self

    def claim(self, name: str, who: str = "A", new: Any = None) -> Claimed:
        """Let a worker claim a step."""
        self.as_(who)
        found = self.journal.claim(self.world.ids.get(name, name), new).result(SOON_S)
        assert isinstance(found, Claimed), found
        self.world.ids[name] = found.id
        self.world.claims[name] = found
        self.world.holders[name] = who
        return found

    def root(self, name: str = "r", who: str = "A", **more: Any) -> Claimed:
        more = {"task": "agents.vote", "agent": None, **more}
        return self.claim(name, who, step(name, **more))

    def lone(self, who: str = "A", **more: Any) -> Claimed:
        return self.claim("s", who, step("s", **more))

    def expand(self, name: str, what: Expand) -> None:
        claim = self.world.claims.pop(name)
        done = self.journal.expand(claim, what).result(SOON_S)
        assert done.applied
        prefix = "" if name == "r" else f"{name}/"
        for m in what.members:
            self.world.ids[f"{prefix}{m.key}"] = derived_id(claim.id, m.key)

    def finish(self, name: str, outcome: Outcome) -> None:
        claim = self.world.claims.pop(name)
        assert self.journal.finish(claim, outcome).result(SOON_S).applied

    def die(self, name: str) -> None:
        """Claim a step and give it up."""
        self.claim(name)
        self.give_up(name)

    def give_up(self, name: str) -> None:
        """Give a claimed step up: its worker is gone, and its attempts are used up."""
        claim = self.world.claims.pop(name)
        self.set("steps", name, "attempts = max_attempts, worker_id = 'gone'")
        found = self.as_("A").journal.claim(claim.id).result(SOON_S)
        assert isinstance(found, Finished), found

    def requeue(self, name: str) -> None:
        step_id = self.world.ids[name]
        self.journal.transaction(lambda c: dead_letters.requeue_step(c, step_id, GRACE_S))

    def set(self, table: str, name: str, values: str) -> None:
        key = "step_id" if table == "joins" else "id"
        step_id = self.world.ids[name]
        self.ground.execute(f"UPDATE {table} SET {values} WHERE {key} = %s", (step_id,))

    def late(self, name: str) -> None:
        """Let the deadline of a join be over."""
        self.set("joins", name, "deadline_at = deadline_at - 100000")

    def end_lease(self) -> None:
        """L's lease runs out."""
        self.ground.execute(
            "UPDATE workers SET lease_until = lease_until - 1000 WHERE id = %s",
            (self.ground.who["L"].id,),
        )

    def age(self, days: float) -> None:
        """All runs were made, and ended, so many days ago."""
        by = days * DAY_S
        times = f"created_at = created_at - {by}, finished_at = finished_at - {by}"
        self.ground.execute(
            f"UPDATE runs SET {times}; UPDATE steps SET {times}, deadline_at = deadline_at - {by}; "
            "UPDATE steps SET wakes = 7 WHERE finished_at IS NOT NULL AND NOT settled"
        )

    def settle(self, name: str) -> None:
        """Its result is stored."""
        self.set("steps", name, "settled = true")


def person() -> Member:
    options = {"choices": ["yes", "no"]}
    return Member(key="h", task=names.APPROVAL, input=options, options={}, waits=True)


def joined(*members: Member, kind: Any = "all", timeout_s: Any = None, keep: bool = False) -> Any:
    return Expand(members=members, join=JoinPolicy(kind=kind, timeout_s=timeout_s, keep=keep))


# -- a run with one of everything


def tree(ground: Ground, world: World, *, deciding: bool = False) -> None:
    """r waits for (or, ``deciding``, goes on beside): a, b and n (a pattern) that run, e that is
    early, l and z that L left behind, w (a pattern that waits, late), d (dead), h (a person)."""
    b = Builder(ground, world)
    b.root("r", timeout_s=LATER_S)
    asked = [member("a"), member("b"), member("e"), member("l"), member("c")]
    asked += [member("z", max_attempts=1), member("d", max_attempts=1)]
    asked += [member(k, task="agents.vote", agent=None) for k in ("n", "w")]
    b.expand("r", joined(*asked, kind="first", timeout_s=LATER_S, keep=True))
    for name, who in (("a", "A"), ("b", "B"), ("n", "B"), ("l", "L"), ("z", "L"), ("e", "A")):
        b.claim(name, who)
    postponed = world.claims.pop("e")
    b.journal.postpone(postponed, delay_s=LATER_S, error=TIRED).result(SOON_S)
    b.die("d")
    b.claim("w")
    inner = joined(person(), member("x"), member("y"), timeout_s=LATER_S)
    b.expand("w", inner)
    b.late("w")
    b.claim("w/x", "A")
    if deciding:
        b.late("r")
        b.claim("r", "A")
    b.end_lease()


# -- narrower ones


def last(ground: Ground, world: World, *, kind: str, keep: bool = False, late: bool = True) -> None:
    """r waits, as a rule past its deadline, for a and b, which run."""
    b = Builder(ground, world)
    b.root("r")
    b.expand("r", plan("a", "b", kind=kind, timeout_s=LATER_S, keep=keep))
    if late:
        b.late("r")
    b.claim("a", "A")
    b.claim("b", "B")


def hedged(ground: Ground, world: World) -> None:
    """p waits, past its deadline, for m, which runs; beside it q (as busy), with x and y."""
    b = Builder(ground, world)
    for root, keys in (("q", "xy"), ("r", "m")):
        b.root(root)
        kind = "first" if root == "r" else "all"
        claim = world.claims.pop(root)
        what = plan(*keys, kind=kind, timeout_s=LATER_S, keep=True)
        b.journal.expand(claim, what).result(SOON_S)
        for k in keys:
            world.ids[k] = derived_id(root, k)
            b.claim(k, "A" if k != "y" else "B")
    b.late("r")


def both_late(ground: Ground, world: World) -> None:
    """q and r wait past their deadlines, of which r's was the first."""
    hedged(ground, world)
    b = Builder(ground, world)
    b.late("q")
    b.late("r")


def between(ground: Ground, world: World) -> None:
    """r decides, its join fired at its deadline: a failed, b runs on, l was left by L."""
    b = Builder(ground, world)
    b.root("r")
    b.expand("r", plan("a", "b", "l", kind="first", timeout_s=LATER_S, keep=True))
    for name, who in (("a", "A"), ("b", "B"), ("l", "L")):
        b.claim(name, who)
    b.finish("a", FAILED)
    b.late("r")
    b.claim("r", "A")
    b.end_lease()


def alone(ground: Ground, world: World, *, who: str = "A", attempts: int = 3) -> None:
    """s runs; under L its lease has run out."""
    b = Builder(ground, world)
    b.lone(who, max_attempts=attempts)
    b.end_lease()


def pattern_left(ground: Ground, world: World, *, attempts: int) -> None:
    """r, a pattern, was left by L before it expanded."""
    b = Builder(ground, world)
    b.root("r", "L", max_attempts=attempts)
    b.end_lease()


def orphans(ground: Ground, world: World) -> None:
    """Two lone steps and two members that L left behind, and a member that runs."""
    b = Builder(ground, world)
    for name in ("s", "t"):
        b.claim(name, "L", step(name))
    b.root("r")
    members = [member("x"), member("y", max_attempts=1), member("z")]
    b.expand("r", joined(*members, kind="first", timeout_s=LATER_S))
    for name, who in (("x", "L"), ("y", "L"), ("z", "B")):
        b.claim(name, who)
    b.end_lease()


def undoing(ground: Ground, world: World, *, u: str) -> None:
    """r failed with a undone or to be undone by u; b runs on, and can be undone too."""
    b = Builder(ground, world)
    b.root("r")
    b.expand("r", plan("a", "b", kind="first", timeout_s=LATER_S, keep=True))
    b.claim("a", "A")
    b.claim("b", "B")
    b.finish("a", UNDOABLE)
    b.claim("r", "A")
    b.finish("r", FAILED)
    world.ids["u"] = compensation_id("r")
    if u == "ready":
        return
    b.claim("u", "A")
    if u in {"waiting", "dead"}:
        key = world.ids["a"]
        b.expand("u", plan(key))
        world.ids["u/a"] = derived_id(world.ids["u"], key)
        b.claim("u/a", "A")
    if u == "dead":
        b.finish("u/a", FAILED)
        b.claim("u", "A")
        failed = ErrorInfo(kind="compensation_failed", message="no")
        b.finish("u", Outcome(state=State.DEAD, error=failed))
        b.settle("r")
        b.settle("u")
        b.age(31)


def dead_root(ground: Ground, world: World, *, old: bool) -> None:
    """r is dead for the second time, a week later; b runs on, and can be undone."""
    b = Builder(ground, world)
    b.root("r", max_attempts=1, timeout_s=50.0)
    b.expand("r", plan("b", kind="first", timeout_s=LATER_S, keep=True))
    b.claim("b", "B")
    b.late("r")
    b.die("r")
    b.age(7)
    b.requeue("r")
    b.die("r")
    if old:
        b.settle("r")
        b.age(31)


def old_letter(ground: Ground, world: World) -> None:
    """s has been dead for a month, and is settled; t ended then, and cannot be settled."""
    b = Builder(ground, world)
    b.claim("s", "A", step("s", timeout_s=50.0, max_attempts=1))
    b.give_up("s")
    b.settle("s")
    b.claim("t", "A", step("t"))
    b.finish("t", DONE)
    b.age(31)


def half_gone(ground: Ground, world: World) -> None:
    """r failed a month ago, with a done that can be undone, and is being cleaned: its row is gone,
    those of a and of what was to undo that are there."""
    b = Builder(ground, world)
    b.root("r")
    b.expand("r", plan("a"))
    b.claim("a", "A")
    b.finish("a", UNDOABLE)
    b.claim("r", "A")
    b.finish("r", FAILED)
    world.ids["u"] = compensation_id("r")
    b.claim("u", "A")
    failed = ErrorInfo(kind="compensation_failed", message="no")
    b.finish("u", Outcome(state=State.DEAD, error=failed))
    b.settle("u")
    b.age(31)
    ground.execute("DELETE FROM steps WHERE id = 'r'")


def talking(ground: Ground, world: World, *, waiting: str) -> None:
    """Of one session, o has ended, t has its turn, v and w may wait for it, x has just come."""
    b = Builder(ground, world)
    for name in f"ot{waiting}x":
        b.claim(name, "B" if name == "x" else "A", step(name))
        if name != "x":
            b.journal.sessions.hold(world.claims[name], SESSION, MANY).result(SOON_S)
        if name == "o":
            b.journal.finish(world.claims.pop(name), DONE, SAID).result(SOON_S)
        if name in "vw":
            del world.claims[name]


def teaming(ground: Ground, world: World) -> None:
    """r, an agent, waits for a and b, which run; it may have one more asked, of three in all."""
    b = Builder(ground, world)
    payload = {"args": ["?"], "kwargs": {"agent": "a", "max_steps": 3}}
    b.claim("r", "A", step("r", payload=payload))
    b.expand("r", plan("a", "b", team=True))
    b.claim("a", "A")
    b.claim("b", "B")


def flowing(ground: Ground, world: World) -> None:
    """r is a flow that waits for a, which runs; its history has a line."""
    b = Builder(ground, world)
    claim = b.root("r", task=names.FLOW)
    b.world.claims.pop("r")
    plan_ = Expand(
        members=(member("a"),), join=JoinPolicy(kind="any"), awaited=AwaitedAny(open=("a",))
    )
    told = NewEntry("", f"{HISTORY}r", "started", {"key": "", "at": 1.0}, run_id="r")
    assert b.journal.expand(claim, plan_, entries=[told]).result(SOON_S).applied
    for key in ("a", "next"):
        world.ids[key] = derived_id(claim.id, key)
    b.claim("a")


def sleeping(ground: Ground, world: World) -> None:
    """The same, and r's time has come."""
    flowing(ground, world)
    ground.execute("UPDATE joins SET deadline_at = 1 WHERE step_id = 'r'")


ACTOR = {"task": names.FLOW, "agent": "actor/A"}


def resting(ground: Ground, world: World) -> None:
    """r and s are actors that take something up: r waited before, s begins."""
    b = Builder(ground, world)
    b.root("r", **ACTOR)
    b.expand("r", Expand(join=JoinPolicy(kind="any", timeout_s=0.0), awaited=AwaitedAny()))
    b.claim("r")
    b.root("s", **ACTOR)


def nothing(ground: Ground, world: World) -> None:
    """Nothing has come yet."""


WORLDS: dict[str, Callable[[Ground, World], None]] = {
    "tree": tree,
    "deciding": partial(tree, deciding=True),
    "last-all": partial(last, kind="all"),
    "last-first": partial(last, kind="first"),
    "last-first-kept": partial(last, kind="first", keep=True),
    "last-unbroken": partial(last, kind="unbroken"),
    "last-decided": partial(last, kind="decided"),
    "patient-all": partial(last, kind="all", late=False),
    "patient-first": partial(last, kind="first", late=False),
    "hedged": hedged,
    "both-late": both_late,
    "between": between,
    "alone": alone,
    "left": partial(alone, who="L"),
    "spent": partial(alone, who="L", attempts=1),
    "pattern-left": partial(pattern_left, attempts=3),
    "pattern-spent": partial(pattern_left, attempts=1),
    "orphans": orphans,
    "undo-ready": partial(undoing, u="ready"),
    "undo-running": partial(undoing, u="running"),
    "undo-waiting": partial(undoing, u="waiting"),
    "undo-dead": partial(undoing, u="dead"),
    "dead": partial(dead_root, old=False),
    "dead-old": partial(dead_root, old=True),
    "letters-old": old_letter,
    "half-gone": half_gone,
    "talking": partial(talking, waiting="vw"),
    "talking-two": partial(talking, waiting=""),
    "team": teaming,
    "flowing": flowing,
    "sleeping": sleeping,
    "resting": resting,
    "nothing": nothing,
}
