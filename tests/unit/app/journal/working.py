"""All that workers do with a journal, so that each of its statements is seen, and known."""

from __future__ import annotations

from sqlalchemy import text

from agents.governance.budgets import Amount
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.actors.store import ActorStore
from app.journal.queries import reads
from app.journal.retention import cleanup
from app.journal.schema.migrate import ensure_schema
from app.journal.schema.rows import (
    Claimed,
    HeldSession,
    NewEntry,
    NewExchange,
    Unheld,
    derived_id,
)
from app.journal.steps import compensations, dead_letters, due
from app.journal.steps.cancels import cancel
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep, Settle
from app.journal.steps.inserts import AcceptStep, InsertStep
from app.journal.steps.spending import Reserved, Settled
from app.journal.stores.encryption import Encryption
from app.journal.tables import workers
from celery_agents import names
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.flows.entries import ANSWERS, HISTORY
from celery_agents.contracts.outcome import Outcome, State
from tests.support import engines
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    batch,
    claimed,
    expand,
    member,
    plan,
    step,
)


def learn(url: str) -> None:
    """Have SQLAlchemy put the statements together, once for all forks of this process."""
    engines.share()
    world = World(url)
    with world.engine.connect():  # those made from now on share what this one knows
        pass
    begin(world, world.journal())
    work_through(world, world.journal())
    world.close()


def begin(world: World, journal: Journal) -> None:
    """What each worker does as it starts, and its recovery when it first looks."""
    ensure_schema(world.engine)
    Encryption(world.engine).begin()
    offered = {"name": "a", "kind": "test", "description": "", "effects": "pure"}
    journal.announce([offered], ["agents"], 1)
    journal.findings.take_duty(1.0)
    journal.findings.duty_left()
    journal.findings.next_late()
    journal.findings.take_flows(1, ["agents"])
    journal.findings.late_joins(1)
    for kind in ("unsettled", "orphaned", "unwoken"):
        journal.findings.wanting(kind, 1, grace_s=1.0, backoff_max_s=1.0)
    journal.schedules.is_due()
    journal.streams.subscriptions.due("runs", 1, set())
    journal.streams.kept()


def work_through(world: World, journal: Journal) -> None:
    """All that workers and their recovery do with the journal."""
    ids = [f"new{n}" for n in range(30)]
    claims = batch(journal, *[ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in ids])
    batch(journal, *[ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in ids])
    journal.start_call(claims[0], 0, "model", "f", "k").result(SOON)
    journal.finish_call(claims[0], 0, {"a": 1}).result(SOON)
    journal.finished_calls("new0")
    journal.beat()
    journal.postpone(claims[0], delay_s=0, error=TIRED).result(SOON)
    journal.postpone(claims[1], delay_s=0).result(SOON)
    journal.give_back(["new2"])
    again = batch(journal, *[ClaimStep(i, journal.me.id, journal.rules) for i in ids[:3]])
    ends = [DONE, FAILED] * (len(ids) // 2)
    held = zip([*again, *claims[3:]], ends, strict=True)
    batch(journal, *[FinishStep(claim, end, journal.rules) for claim, end in held])
    batch(journal, *[Settle(i, 1) for i in ids])
    journal.finish(claimed(journal, "alone", step("alone")), DONE).result(SOON)
    journal.settle("alone", 1).result(SOON)
    journal.insert(step("following")).result(SOON)
    several = [InsertStep(step(f"later{n}"), 10.0) for n in range(2)]
    accepted = [AcceptStep(step(f"accepted{n}"), 10.0) for n in range(3)]
    for together in (accepted[:1], accepted[1:]):
        journal._writer._commit([*together])
    made = [ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in ("more", "many")]
    journal._writer._commit([*several])
    journal._writer._commit([*made])
    two = [claimed(journal, i, step(i)) for i in ("one", "two")]
    journal._writer._commit([FinishStep(claim, DONE, journal.rules) for claim in two])
    _budgets(world, journal)
    _sessions(journal)
    _patterns(world, journal)
    _recovery(world, journal)


def _budgets(world: World, journal: Journal) -> None:
    """Calls under a budget, their sums, and what is in doubt."""
    place, booked = ("company", 0), (("company", 0, None),)
    reserved = Reserved(Amount(9, 1, 1), booked)
    claims = [claimed(journal, f"spends{n}", step(f"spends{n}")) for n in range(2)]
    for claim in claims:
        about = (0, "model", "f", f"k{claim.id}")
        journal.start_call(claim, *about, reserved=reserved).result(SOON)
    settled = Settled(Amount(5, 1, 1), booked, journal.me.id)
    journal.finish_call(claims[0], 0, {"a": 1}, cost_usd=5e-9, settled=settled).result(SOON)
    journal.ledger.standing(place, None)
    journal.ledger.standing((":spends0", 0), "spends0")
    journal.ledger.fates([(f"spends{n}", 0, 1) for n in range(2)])
    journal.finish(claims[1], DONE).result(SOON)
    assert len(journal.ledger.release("company", None)) == 1


def _sessions(journal: Journal) -> None:
    """Runs that talk, wait for each other, and what people do with sessions."""
    said = NewExchange({"messages": []}, tokens=10)
    for name in ("old1", "chat"):
        ids = [f"{name}-{n}" for n in range(2)]
        first, second = (claimed(journal, i, step(i, tenant="t")) for i in ids)
        for claim, found in ((first, HeldSession), (second, Unheld)):
            assert isinstance(journal.sessions.hold(claim, name, 100).result(SOON), found)
        assert journal.finish(first, DONE, said).result(SOON).wakes
        again = claimed(journal, second.id)
        held = journal.sessions.hold(again, name, 100).result(SOON)
        assert isinstance(held, HeldSession)
        journal.sessions.told(held)
        journal.finish(again, FAILED).result(SOON)
        journal.sessions.page("t", name, -1)
        journal.sessions.fork("t", name, f"copy of {name}", 1)
        journal.sessions.delete("t", name)
    journal.sessions.list("t", 10)


def _patterns(world: World, journal: Journal) -> None:
    """Members of all kinds of joins, finished, cancelled, late, undone."""
    undoable = Outcome(
        state=State.SUCCEEDED, value=1, agent="a", compensation=Compensation(agent="undo")
    )
    for kind in ("all", "first", "decided"):
        members = expand(journal, kind, plan(*"abcd", kind=kind, timeout_s=600))
        batch(journal, *[FinishStep(c, undoable, journal.rules) for c in members[:3]])
        journal.finish(members[3], FAILED).result(SOON)
        journal.members(kind)
        journal.tally(kind, values_within=1000)
        journal.results(kind, -1)
        root = claimed(journal, kind)
        wider = plan(*"abcde", kind=kind)
        assert journal.expand(root, wider).result(SOON).applied
        new = journal.claim(derived_id(kind, "e")).result(SOON)
        if isinstance(new, Claimed):  # the first success lets the others go
            journal.finish(new, DONE).result(SOON)
        journal.finish(claimed(journal, kind), FAILED).result(SOON)
        undoing = claimed(journal, compensation_id(kind))
        with world.engine.begin() as c:
            compensations.let_go(c, kind)
            compensations.finished(c, kind)
            compensations.uncertain(c, kind)
            compensations.turns(c, kind)
        journal.finish(undoing, DONE).result(SOON)
    expand(journal, "tree", plan("a", "b"))
    _flows(journal)
    journal.cancel("tree")
    journal.cancel("unknown")
    waiting = member("person", task="agents.approval", waits=True, input={})
    journal.expand(
        claimed(journal, "approved", step("approved", task="agents.vote", agent=None)),
        plan().model_copy(update={"members": (waiting,)}),
    ).result(SOON)
    journal.approve("approved", "yes")


def _flows(journal: Journal) -> None:
    """Flows and actors that are told something, take it up, and wait on: many at once."""
    post = ActorStore(journal).post
    for told in range(2):
        mails = []
        for number in range(30):
            new = step(f"actor{number}", task=names.FLOW, agent="actor/A", tenant="t")
            mails.append(Mail(new, [MailboxEntry(f"m{told}", {"name": "add", "value": told})]))
        wakes = post(mails).wakes
        claims = batch(journal, *[ClaimStep(w.id, journal.me.id, journal.rules) for w in wakes])
        assert len(claims) == len(mails)
        awaited = AwaitedAny(open=("a",), heard=told, begins=told, keeps_s=0.0)
        what = Expand(join=JoinPolicy(kind="any"), awaited=awaited)
        rests = []
        for claim in claims:
            lines = [NewEntry("t", f"{at}{claim.id}", "line", {}) for at in (HISTORY, ANSWERS)]
            rests.append(ExpandStep(claim, what, journal.rules, entries=lines))
        assert all(found.applied for found in batch(journal, *rests))


def _recovery(world: World, journal: Journal) -> None:
    flow = claimed(journal, "flow", step("flow", task=names.FLOW, agent=None))
    line = NewEntry("", "flow/flow", "done", {}, run_id="flow")
    assert journal.finish(flow, DONE, entries=[line]).result(SOON).applied
    expand(journal, "late", plan("a", timeout_s=0.001))
    other = world.journal("other@here", host="gone")
    held = claimed(other, "orphan", step("orphan"))
    world.end_lease(other, ago_s=100)
    with world.engine.begin() as c:
        c.execute(text("UPDATE steps SET wake_at = 0 WHERE id IN ('late', 'orphan', 'new3')"))
    with world.engine.begin() as c:
        due.orphaned(c, 500, 10, 300)
        due.unsettled(c, 500, 10, 300)
        due.unwoken(c, 500, 10, 300)
        due.take_flows(c, 500, ["agents", "agents.control"], journal.me.id)
        due.late_joins(c, 500, journal.rules)
        due.known(c, [f"old{n}" for n in range(500)])
        workers.take_duty(c, "recovery", journal.me.id, 10)
        workers.register(c, workers.Identity("other@here"), 10)
        cancel(c, held.id, journal.rules)


def answer_people(world: World, journal: Journal) -> None:
    """The single questions of people, of a journal with many dead letters."""
    assert journal.run_tree("all") is not None
    with world.engine.begin() as c:
        reads.events(c, "all")
        letter = {"id": "d", "cause": "c", "reason": "r", "queue": "q", "task": None}
        rest = {"step_id": None, "payload": "", "raw": "", "size": 1, "at": 1.0}
        dead_letters.insert_letters(c, [{**letter, **rest}], 50)
        assert len(dead_letters.listed(c, 20)) == 20
        dead_letters.find(c, "old1000")
        dead_letters.drop_step(c, "old2000")
        dead_letters.requeue_step(c, "old3000", 10)
    keep = cleanup.Retention(1.0, 1.0, 1.0)
    cleanup.clean_journal(world.engine, keep, batch=100, limit_s=0.5, sleep=lambda _: None)
