"""The operations, as an actor does them in a world: "verb target", such as "win a"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents.patterns import compensate as pattern
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.schema.rows import Claimed, HeldSession, NewEntry
from app.journal.sequels import FlowSeen
from app.journal.steps import compensations
from app.journal.steps import due as wakes
from app.journal.steps.calls import Before, Begun, StartCall
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep, Settle
from app.journal.tables import health, workers
from celery_agents import names
from celery_agents.contracts.flows.entries import ANSWERS
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import InvalidPayloadError, RunBusyError, StepCancelledError
from tests.support.interleave.ground import NEW, World
from tests.support.interleave.hands import SAID, Hand
from tests.support.interleave.stage import Loss
from tests.support.interleave.worlds import ACTOR, LATER_S, UNDOABLE, joined
from tests.unit.app.journal.support import DONE, FAILED, TIRED, member, step

#: The flow of a world, as its first claim left it.
FLOW = FlowSeen(
    Claimed(
        id="r",
        token=1,
        attempt=1,
        run_id="r",
        parent_id=None,
        member=None,
        task=names.FLOW,
        agent=None,
        queue="agents",
        priority=5,
        payload={"args": ["hello"], "kwargs": {}},
        max_attempts=3,
        remaining_s=None,
    ),
    heard=-1,
    lines=1,
)
#: The worker in whose name each actor claims.
CLAIMERS = ("C", "D", "B")
CANCELLED = Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError()))

Work = Callable[[Hand, World, str], object]
VERBS: dict[str, tuple[str, Work]] = {}


@dataclass(frozen=True, slots=True)
class Deed:
    """One operation on one target."""

    name: str
    kind: str
    work: Work
    target: str
    loss: Loss | None = None  # of its connection, at its first commit

    def __call__(self, hand: Hand, world: World) -> object:
        return self.work(hand, world, self.target)


def deed(name: str, world: World) -> Deed:
    """The operation that a name such as "win a" means.

    "~win a" loses the answer of its commit, "!win a" the commit itself; both are tried again.
    """
    loss = Loss(name[0]) if name[0] in "~!" else None
    verb, _, target = name.lstrip("~!").partition(" ")
    kind, work = VERBS[verb]
    if kind == "finish":
        claim = world.claims[target]
        policy = {None: "root", "all": "member", "unbroken": "member"}.get(claim.policy)
        kind = f"finish {policy or claim.policy}"
    return Deed(name, kind, work, target, loss)


def verb(name: str, kind: str) -> Callable[[Work], Work]:
    def register(work: Work) -> Work:
        VERBS[name] = (kind, work)
        return work

    return register


def _mine(hand: Hand) -> Hand:
    return hand.as_(CLAIMERS[hand.number])


def _held(hand: Hand, world: World, target: str) -> Claimed:
    hand.as_(world.holders[target])
    return world.claims[target]


# -- claims


def _claim(hand: Hand, world: World, target: str) -> object:
    return _mine(hand).claim(world.ids.get(target, target))


for _kind in ("taken", "early", "lapsed", "spent", "ready", "over", "waiting"):
    VERBS[_kind] = (f"claim {_kind}", _claim)


@verb("new", "claim new")
def new(hand: Hand, world: World, target: str) -> object:
    return _mine(hand).claim(target, step(target))


@verb("thawed-claims", "claim by lapsed")
def thawed_claims(hand: Hand, world: World, target: str) -> object:
    return hand.as_("L").claim(world.ids[target])


@verb("claims", "claims")
def claims(hand: Hand, world: World, target: str) -> object:
    """Several in one group commit."""
    j = _mine(hand).journal
    ids = [world.ids[name] for name in target.split("+")]
    return hand.batch(*(ClaimStep(i, j.me.id, j.rules) for i in ids))


@verb("retake", "claim ready")
def retake(hand: Hand, world: World, target: str) -> object:
    """Its worker claims it once more."""
    return hand.as_(world.holders[target]).claim(world.ids[target])


@verb("run", "takeover")
def run(hand: Hand, world: World, target: str) -> object:
    """Claim it, make its call unless that was made before, and end it."""
    claim = _mine(hand).claim(world.ids.get(target, target))
    if not isinstance(claim, Claimed):
        return None
    if not hand.journal.finished_calls(claim.id):
        begun = _call(hand, claim)
        if begun is Begun.LOST:
            return None
        # What an earlier claim has finished meanwhile is there to be read, and not made again.
        assert begun is Begun.YES or hand.journal.finished_calls(claim.id)
    return hand.finish(claim, DONE)


@verb("restart", "takeover")
def restart(hand: Hand, world: World, target: str) -> object:
    """A worker that is new takes a step over."""
    j = hand.as_(NEW[hand.number]).journal
    j.transaction(lambda c: workers.register(c, j.me, 600))
    return hand.claim(world.ids[target])


@verb("insert", "insert")
def insert(hand: Hand, world: World, target: str) -> object:
    return hand.insert(step(target))


# -- ends


@verb("win", "finish")
def win(hand: Hand, world: World, target: str) -> object:
    return hand.finish(_held(hand, world, target), DONE)


@verb("end", "finish")
def end(hand: Hand, world: World, target: str) -> object:
    return hand.finish(_held(hand, world, target), FAILED)


@verb("undoable", "finish")
def undoable(hand: Hand, world: World, target: str) -> object:
    return hand.finish(_held(hand, world, target), UNDOABLE)


@verb("ends", "finishes")
def ends(hand: Hand, world: World, target: str) -> object:
    """Several that fail, in one group commit."""
    held = [_held(hand, world, name) for name in target.split("+")]
    return hand.batch(*(FinishStep(c, FAILED, hand.journal.rules) for c in held))


@verb("settled-with", "settle and finish")
def settled_with(hand: Hand, world: World, target: str) -> object:
    """The result of one that has ended is stored, and another one fails, in one group commit."""
    over, name = target.split("+")
    claim = _held(hand, world, name)
    token = next(row["token"] for row in world.rows["steps"] if row["id"] == world.ids[over])
    settled = Settle(world.ids[over], token)
    return hand.batch(settled, FinishStep(claim, FAILED, hand.journal.rules))


# -- sessions


@verb("hold", "hold")
def hold(hand: Hand, world: World, target: str) -> object:
    return hand.hold(_held(hand, world, target))


@verb("say", "talk")
def say(hand: Hand, world: World, target: str) -> object:
    return hand.finish(_held(hand, world, target), DONE, SAID)


@verb("talk", "talk")
def talk(hand: Hand, world: World, target: str) -> object:
    """Claim it if nobody has, take the session, and add to it."""
    claim = world.claims.get(target)
    if claim is None:
        claim = _mine(hand).claim(world.ids[target])
    else:
        hand.as_(world.holders[target])
    if isinstance(claim, Claimed) and isinstance(hand.hold(claim), HeldSession):
        return hand.finish(claim, DONE, SAID)
    return None


@verb("forget", "sessions")
def forget(hand: Hand, world: World, target: str) -> object:
    try:
        return hand.journal.sessions.delete("", target)
    except InvalidPayloadError as held:
        return held


@verb("fork", "sessions")
def fork(hand: Hand, world: World, target: str) -> object:
    return hand.journal.sessions.fork("", target, "copy", None)


@verb("postpone", "postpone")
def postpone(hand: Hand, world: World, target: str) -> object:
    """It failed and is to be tried again in an hour."""
    return hand.postpone(_held(hand, world, target), LATER_S, TIRED)


@verb("hand-back", "give back")
def hand_back(hand: Hand, world: World, target: str) -> object:
    """Its worker stops."""
    return hand.postpone(_held(hand, world, target), 0.0, None)


@verb("stray", "give back")
def stray(hand: Hand, world: World, target: str) -> object:
    """Its worker's heartbeat does not know it."""
    return hand.give_back(_held(hand, world, target))


@verb("leave", "give back")
def leave(hand: Hand, world: World, target: str) -> object:
    return hand.as_(target).leave()


# -- patterns


@verb("expand", "expand first")
def expand(hand: Hand, world: World, target: str) -> object:
    claim = _held(hand, world, target)
    return _expanded(hand, claim, joined(member("i"), member("j")))


@verb("next", "expand next")
def following(hand: Hand, world: World, target: str) -> object:
    """Go on with what runs yet (b), and one more."""
    return _next(hand, _held(hand, world, target))


@verb("timer", "deadline")
def timer(hand: Hand, world: World, target: str) -> object:
    """Its timer's message comes; what was claimed goes on with its members and one more."""
    claim = _mine(hand).claim(world.ids[target])
    return _next(hand, claim) if isinstance(claim, Claimed) else None


def _next(hand: Hand, claim: Claimed) -> object:
    open_ = [m.key for m in hand.members(claim.id) if not m.state.final]
    asked = [member(k) for k in [*open_, "again"]]
    return _expanded(hand, claim, joined(*asked, kind="first"))


def _expanded(hand: Hand, claim: Claimed, plan: object) -> object:
    """As app/execution/attempts/attempt.py does it: what is not applied was cancelled."""
    expanded = hand.expand(claim, plan)  # type: ignore[arg-type]
    return expanded if expanded.applied else hand.finish(claim, CANCELLED)


@verb("ask", "expand of an agent")
def ask(hand: Hand, world: World, target: str) -> object:
    """An agent asks another one."""
    claim = _held(hand, world, target)
    expanded = hand.ask(claim, Expand(members=(member("i"),), team=True))
    return expanded if expanded.applied else hand.finish(claim, CANCELLED)


@verb("late", "deadline")
def late(hand: Hand, world: World, target: str) -> object:
    return hand.late_joins()


@verb("take", "claim due")
def take(hand: Hand, world: World, target: str) -> object:
    """Flows whose time has come are claimed by a worker that finds them."""
    return _mine(hand).take_flows()


@verb("undo", "compensate")
def undo(hand: Hand, world: World, target: str) -> object:
    """As tasks/compensate.py does it."""
    claim = world.claims.get(target) or _mine(hand).claim(world.ids[target])
    if not isinstance(claim, Claimed):
        return None
    run_id = claim.run_id
    if (going := hand.let_go(run_id)) is not None and going.cancels:
        return hand.postpone(claim, 1.0, ErrorInfo.of(RunBusyError()))
    finished = hand.undoable(run_id)
    turn = hand.journal.read(lambda c: compensations.turns(c, run_id))
    members = hand.members(claim.id)
    first = pattern.next_one(finished, members, turn)
    if first is None:
        return hand.finish(claim, pattern.conclusion(run_id, finished, members, [], turn))
    told = hand.journal.read(lambda c: compensations.told(c, first.id))
    return _expanded(hand, claim, pattern.undo(run_id, first, told, turn))


@verb("go", "go on")
def go(hand: Hand, world: World, target: str) -> object:
    """End it and begin what its flow asks next; as others end where that is not to be."""
    return hand.go_on(_held(hand, world, target), FLOW, member("next"))


@verb("signal", "signal")
def signal(hand: Hand, world: World, target: str) -> object:
    return hand.signal(target)


@verb("mail", "mail")
def mail(hand: Hand, world: World, target: str) -> object:
    """Tell actors something, each under the id that it was told before by the same hand."""
    about = {"name": "add", "value": hand.number}
    entry = MailboxEntry(f"mail-{hand.number}", about)
    return hand.mail([Mail(step(name, **ACTOR), [entry]) for name in target.split("+")])


@verb("rest", "rest")
def rest(hand: Hand, world: World, target: str) -> object:
    """Actors that were told nothing wait on, in one group commit; a cancelled one ends."""
    held = [_held(hand, world, name) for name in target.split("+")]
    what = Expand(join=JoinPolicy(kind="any"), awaited=AwaitedAny())
    rules = hand.journal.rules
    lines = {c.id: [NewEntry("", f"{ANSWERS}{c.id}", "reply", {}, run_id=c.id)] for c in held}
    found = hand.batch(*(ExpandStep(c, what, rules, entries=lines[c.id]) for c in held))
    for claim, expanded in zip(held, found, strict=True):
        if not expanded.applied:
            hand.finish(claim, CANCELLED)
    return found


# -- by people, and by what looks after things


@verb("cancel", "cancel")
def cancel(hand: Hand, world: World, target: str) -> object:
    return hand.cancel(world.ids.get(target, target))


@verb("yes", "approve")
def yes(hand: Hand, world: World, target: str) -> object:
    return hand.approve(target, world.ids["w/h"], "yes")


@verb("no", "approve")
def no(hand: Hand, world: World, target: str) -> object:
    return hand.approve(target, world.ids["w/h"], "no")


@verb("requeue", "requeue")
def requeue(hand: Hand, world: World, target: str) -> object:
    return hand.requeue(world.ids[target])


@verb("clean", "clean")
def clean(hand: Hand, world: World, target: str) -> object:
    return hand.clean()


@verb("settle", "settle")
def settle(hand: Hand, world: World, target: str) -> object:
    step_id = world.ids[target]
    row = next(row for row in world.rows["steps"] if row["id"] == step_id)
    return hand.settle(step_id, row["token"])


@verb("sweep", "sweep")
def sweep(hand: Hand, world: World, target: str) -> object:
    return hand.sweep(getattr(wakes, target))


@verb("probe", "probe")
def probe(hand: Hand, world: World, target: str) -> object:
    """Its health is written down."""
    row = {"target": target, "state": "healthy", "since": 0.0, "checked_at": 0.0}
    return hand.journal.transaction(lambda c: health.replace(c, [row]))


@verb("beat", "beat")
def beat(hand: Hand, world: World, target: str) -> object:
    return hand.as_(target).beat()


@verb("call", "call")
def call(hand: Hand, world: World, target: str) -> object:
    return _call(hand, _held(hand, world, target))


def _call(hand: Hand, claim: Claimed) -> Begun | Before:
    """As app/execution/calls/calls.py does it: what may be made is made."""
    begun = hand.start_call(claim)
    if begun is Begun.YES:
        hand.finish_call(claim)
    return begun


@verb("calls", "call")
def calls(hand: Hand, world: World, target: str) -> object:
    """Several that begin in one group commit."""
    held = [_held(hand, world, name) for name in target.split("+")]
    return hand.batch(*(StartCall(c, 0, "model", "f0", f"key/{c.id}"[:36]) for c in held))


@verb("lapse", "time")
def lapse(hand: Hand, world: World, target: str) -> object:
    """A worker's lease runs out."""
    me = hand.ground.who[target].id
    return hand.write("UPDATE workers SET lease_until = lease_until - 1000 WHERE id = :me", me=me)


@verb("due", "time")
def due(hand: Hand, world: World, target: str) -> object:
    """Its time to be tried again comes."""
    return hand.write(
        "UPDATE steps SET ready_at = ready_at - 10000 WHERE id = :id", id=world.ids[target]
    )
