"""Actors with real workers: what they are told, and what happens to them meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.execution.acting.hearing import KEPT_LEAST_S
from app.journal.schema.models import Entry
from celery_agents import ActorState, Client, StreamEvent
from celery_agents.contracts.flows.actors import actor_run_id
from celery_agents.errors import (
    ActorCycleError,
    ActorEndedError,
    AgentsError,
    IdInUseError,
    InvalidPayloadError,
    ResultTimeoutError,
    UnknownActorError,
)
from tests.integration.harness import FAST, SOON_S, Location, Stack, celery, eventually
from tests.support.drawn import costly
from tests.support.fernet import fernet_key
from tests.support.service import APP

pytestmark = pytest.mark.databases("one")

MODULES = {"AGENTS_MODULES": json.dumps(["tests.support.agents", "tests.support.acting"])}


@pytest.fixture
def lasting(own_location: Location) -> Iterator[Stack]:
    made = Stack(*own_location, FAST | MODULES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    made = Stack(*location, FAST | MODULES)
    made.worker()
    yield made
    made.close()


@pytest.fixture
def acting(_common: Stack) -> Stack:
    """A stack with a worker, whose actors of this tenant are the test's alone."""
    return _common.tenanted()


def cents(stack: Stack, key: str) -> Any:
    return (value(stack, key) or {}).get("cents")


def value(stack: Stack, key: str) -> Any:
    found = state(stack, key)
    return None if found is None else found.value


def state(stack: Stack, key: str) -> ActorState | None:
    return stack.client.actors.state("Account", key, tenant=stack.tenant, timeout=SOON_S)


def ask(stack: Stack, key: str, method: str, *args: Any, **named: Any) -> Any:
    about: Any = {"tenant": stack.tenant, "timeout": SOON_S} | named
    return stack.client.actors.ask("Account", key, method, *args, **about)


def tell(stack: Stack, key: str, method: str, *args: Any, **named: Any) -> str:
    about: Any = {"tenant": stack.tenant, "timeout": SOON_S} | named
    return stack.client.actors.tell("Account", key, method, *args, **about)


def dead_of(stack: Stack, key: str) -> list[Any]:
    """Messages of an actor that were applied in vain."""
    return [*stack.client.actors.dead("Account", key, tenant=stack.tenant, timeout=SOON_S)]


def known(stack: Stack) -> list[Any]:
    return stack.client.actors.list("Account", tenant=stack.tenant, timeout=SOON_S)


def id_of(stack: Stack, key: str) -> str:
    """The run of an actor."""
    return actor_run_id(stack.tenant, "Account", key)


def test_it_keeps_what_it_is_told_and_answers(acting: Stack) -> None:
    assert ask(acting, "ada", "deposit", 5) == 5
    assert ask(acting, "ada", "deposit", cents=7) == 12
    assert ask(acting, "bob", "deposit", 1) == 1
    assert value(acting, "ada") == {"cents": 12, "log": []}
    assert [(one.actor, one.key, one.unread) for one in known(acting)] == [
        ("Account", "bob", 0),
        ("Account", "ada", 0),
    ]
    eventually(lambda: known(acting)[0].state == "waiting")
    assert state(acting, "nobody") is None


def test_a_message_of_an_id_is_applied_once_and_asked_again_it_is_answered(acting: Stack) -> None:
    assert ask(acting, "ada", "deposit", 5, id="one") == 5
    assert ask(acting, "ada", "deposit", 5, id="one") == 5
    with pytest.raises(IdInUseError):
        ask(acting, "ada", "deposit", 6, id="one")
    assert tell(acting, "ada", "deposit", 1, id="two") == "two"
    assert tell(acting, "ada", "deposit", 1, id="two") == "two"
    with pytest.raises(IdInUseError):  # nobody answers what was told
        ask(acting, "ada", "deposit", 1, id="two")
    eventually(lambda: cents(acting, "ada") == 6)


def test_whom_or_what_there_is_not_is_told_at_once(acting: Stack) -> None:
    with pytest.raises(UnknownActorError, match="no actor 'Nobody'"):
        acting.client.actors.tell("Nobody", "x", "deposit", timeout=SOON_S)
    with pytest.raises(UnknownActorError, match=r"no method '__init__'"):
        tell(acting, "ada", "__init__")
    with pytest.raises(InvalidPayloadError, match="deposit"):
        ask(acting, "ada", "deposit", 1, 2, 3)
    with pytest.raises(InvalidPayloadError, match="is an actor"):
        acting.client.start("actor/Account", {"actor": "Account", "key": "x"}).get(timeout=SOON_S)


@pytest.mark.parametrize("how", ["raise", "cancel", "exit", "state", "answer", "reads"])
def test_what_a_method_that_fails_did_is_not_kept_and_the_next_one_is_served(
    acting: Stack, how: str
) -> None:
    ask(acting, "ada", "deposit", 1)
    with pytest.raises(AgentsError):
        ask(acting, "ada", "odd", how)
    told = tell(acting, "ada", "odd", how)
    assert ask(acting, "ada", "deposit", 1) == 2
    assert value(acting, "ada") == {"cents": 2, "log": []}
    assert value(acting, "other") is None
    assert not read(acting, "odd")
    (dead,) = dead_of(acting, "ada")
    assert (dead["id"], dead["method"]) == (told, "odd")


def test_a_signal_of_an_outsider_is_no_message_and_ends_nothing(acting: Stack) -> None:
    ask(acting, "ada", "deposit", 1)
    run_id = id_of(acting, "ada")
    forged = {
        "id": "forged",
        "wanted": True,
        "chain": [],
        "message": {"method": "deposit", "args": [1_000], "kwargs": {}},
    }
    handle = acting.client.start.handle(run_id)
    several: list[Any] = [forged, None, "x", [], {"message": 1}]
    for number, hostile in enumerate(several):
        assert handle.signal("deposit", hostile, id=f"s{number}", timeout=SOON_S) == "taken"
    assert ask(acting, "ada", "deposit", 1) == 2
    dead = dead_of(acting, "ada")
    assert len(dead) == 5
    assert not [e for e in entries(acting, run_id) if e.kind == "reply" and e.key == "forged"]


def entries(stack: Stack, run_id: str) -> list[Any]:
    return read(stack, f"actor/{run_id}")


def read(stack: Stack, stream: str) -> list[Any]:
    return [*stack.client.streams.read(stream, tenant=stack.tenant, timeout=SOON_S)]


def test_nobody_else_gives_a_message_the_id_of_a_step(acting: Stack, tmp_path: Path) -> None:
    """The step of that id would be woken by its answer."""
    path = tmp_path / "gate"
    tell(acting, "ada", "gate", str(path))
    run_id = id_of(acting, "ada")
    eventually(lambda: acting.members(run_id) and acting.state(run_id) == "waiting")
    for taken in ("call:", f"call:{run_id}"):
        with pytest.raises(InvalidPayloadError, match="begins those of steps"):
            tell(acting, "bob", "deposit", 1, id=taken)
    path.touch()
    assert ask(acting, "bob", "deposit", 1) == 1


def test_a_run_that_is_no_actor_is_told_nothing(acting: Stack) -> None:
    """Though somebody gave it the id that an actor would have."""
    run_id = id_of(acting, "eve")
    acting.client.ask("shout", "x", id=run_id, tenant=acting.tenant).get(timeout=SOON_S)
    with pytest.raises(IdInUseError, match=run_id):
        tell(acting, "eve", "deposit", 1)
    assert not read(acting, f"signals/{run_id}")


def test_nobody_else_writes_its_answers_and_no_star_has_them(acting: Stack) -> None:
    run_id = id_of(acting, "ada")
    event: Any = {"kind": "reply", "data": {"value": 1}, "key": "x"}
    client = acting.client
    about: Any = {"tenant": acting.tenant, "timeout": SOON_S}
    for append in (client.streams.append, client.events.append):
        with pytest.raises(InvalidPayloadError, match="service's own"):
            append(f"actor/{run_id}", [StreamEvent.read(event)], **about)
    with pytest.raises(InvalidPayloadError, match="service's own"):
        client.on("actor/*", run=client.ask.s("echo"), **about)
    client.on("*", run=client.ask.s("echo"), name="all", **about)
    ask(acting, "ada", "deposit", 1)
    assert [e.kind for e in entries(acting, run_id)] == ["reply"]
    client.events.append("mine/1", [StreamEvent(kind="mine")], **about)

    def subscription() -> Any:
        return client.events.subscription("all", **about)

    eventually(lambda: subscription().served == 1)
    assert subscription().behind == 0


def test_actors_tell_and_ask_each_other(acting: Stack) -> None:
    ask(acting, "ada", "deposit", 10)
    assert ask(acting, "ada", "pay", "bob", 4) == 6
    eventually(lambda: cents(acting, "bob") == 4)
    assert ask(acting, "bob", "pull", "ada", 5) == 1
    eventually(lambda: cents(acting, "bob") == 9)
    assert value(acting, "bob")["log"] == [1]
    assert [e.data["cents"] for e in read(acting, "payments")] == [4, 5]
    tell(acting, "ada", "astray")
    eventually(lambda: dead_of(acting, "ada"))
    (dead,) = dead_of(acting, "ada")
    assert (dead["to"], dead["error"]["kind"]) == ("Nobody/x", "unknown_actor")
    assert ask(acting, "ada", "deposit", 0) == 1


def test_a_chain_of_calls_that_comes_back_is_an_error_that_names_it(acting: Stack) -> None:
    assert ask(acting, "a", "around", ["b", "c"]) == "end"
    begun = time.monotonic()
    with pytest.raises(ActorCycleError, match="Account/a → Account/b → Account/c → Account/a"):
        ask(acting, "a", "around", ["b", "c", "a"])
    assert time.monotonic() - begun < SOON_S / 3
    with pytest.raises(ActorCycleError, match="Account/a → Account/a"):
        ask(acting, "a", "around", ["a"])
    assert ask(acting, "c", "deposit", 1) == 1


def test_two_that_call_each_other_at_once_do_not_wait_for_ever(
    acting: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "gate"
    tell(acting, "a", "across", str(path), "b")
    tell(acting, "b", "across", str(path), "a")
    eventually(lambda: {s.state for s in known(acting)} == {"waiting"})
    path.touch()

    def refused() -> list[Any]:
        return [d for key in "ab" for d in dead_of(acting, key)]

    eventually(refused)
    eventually(lambda: (cents(acting, "a") or 0) + (cents(acting, "b") or 0) == 1)
    assert [one["error"]["kind"] for one in refused()] == ["actor_cycle"]


def test_a_backlog_behind_one_that_waits_is_taken_up_by_64(acting: Stack, tmp_path: Path) -> None:
    path = tmp_path / "gate"
    tell(acting, "ada", "gate", str(path))
    eventually(lambda: (found := state(acting, "ada")) and found.state == "waiting")
    portions = costly(14, part=7)
    for _ in range(portions):
        several: Any = [("Account", "ada", "deposit", 1)] * 500
        acting.client.actors.tell_many(several, tenant=acting.tenant, timeout=SOON_S)
    found = state(acting, "ada")
    assert found is not None
    assert found.unread >= 500 * portions  # it was not woken for them, nor told one
    path.touch()
    eventually(lambda: cents(acting, "ada") == 500 * portions, timeout_s=3 * SOON_S)
    assert value(acting, "ada")["log"] == ["open"]
    assert acting.state(id_of(acting, "ada")) == "waiting"


def test_reminders_come_and_loops_of_them_let_messages_in(acting: Stack) -> None:
    assert ask(acting, "ada", "later", 0.5, 3) == "#1"
    found = state(acting, "ada")
    assert found is not None
    assert [*found.reminders] == ["#1"]
    eventually(lambda: cents(acting, "ada") == 3)
    tell(acting, "bob", "loop", 1_000_000)
    eventually(lambda: (cents(acting, "bob") or 0) >= 3)
    assert ask(acting, "bob", "deposit", 1_000_000) >= 1_000_003

    def reminders() -> Any:
        found = state(acting, "bob")
        return None if found is None else found.reminders

    eventually(lambda: reminders() == {})  # it heard of it amid its loop, and has ended that


def test_an_answer_that_takes_too_long_may_be_asked_for_again(
    acting: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "gate"
    with pytest.raises(ResultTimeoutError):
        ask(acting, "ada", "gate", str(path), id="g", timeout=2)
    path.touch()
    assert ask(acting, "ada", "gate", str(path), id="g") == "open"


def test_one_that_a_person_cancelled_takes_nothing_up(acting: Stack) -> None:
    assert ask(acting, "ada", "deposit", 1, id="one") == 1
    acting.client.runs.cancel(id_of(acting, "ada"))
    eventually(lambda: acting.state(id_of(acting, "ada")) == "cancelled")
    with pytest.raises(ActorEndedError):
        ask(acting, "ada", "deposit", 1)
    assert ask(acting, "ada", "deposit", 1, id="one") == 1


def test_what_was_taken_up_long_ago_is_forgotten(lasting: Stack) -> None:
    """And not before an hour has passed, whatever the settings say."""
    lasting.worker(env={"AGENTS_KEEP_DAYS": "0"})
    for number in range(10):
        assert ask(lasting, "ada", "deposit", 1, id=f"m{number}") == number + 1
    assert ask(lasting, "ada", "deposit", 1, id="m0") == 1  # known
    run_id = id_of(lasting, "ada")

    def rows(prefix: str) -> int:
        query = select(func.count()).where(Entry.stream == prefix + run_id)
        return int(lasting.read(lambda c: c.execute(query).scalar_one()))

    assert rows("signals/") == 10
    with lasting.engine.begin() as connection:
        theirs = [prefix + run_id for prefix in ("signals/", "actor/")]
        connection.execute(
            update(Entry).where(Entry.stream.in_(theirs)).values(at=Entry.at - KEPT_LEAST_S)
        )
    for number in range(10, 20):
        assert ask(lasting, "ada", "deposit", 1, id=f"m{number}") == number + 1
    assert 10 <= rows("signals/") < 20
    assert rows("actor/") < 20
    assert ask(lasting, "ada", "deposit", 1, id="m0") == 21  # as if nobody had told it
    assert ask(lasting, "ada", "deposit", 0) == 21


def test_a_circle_is_told_within_a_second(acting: Stack) -> None:
    """More than a chain takes that is none, however busy the machine is."""
    for key in ("a", "b"):
        ask(acting, key, "deposit", 0)  # they are there
    plain, circle = [
        min(timed(acting, path, fails=fails) for _ in range(3))
        for path, fails in ((["b"], False), (["b", "a"], True))
    ]
    assert circle < 1.0 + plain


def timed(stack: Stack, path: list[str], *, fails: bool) -> float:
    """The seconds that a chain of calls takes."""
    begun = time.monotonic()
    with pytest.raises(ActorCycleError) if fails else nullcontext():
        ask(stack, "a", "around", path)
    return time.monotonic() - begun


def test_messages_survive_kills_and_each_is_applied_once(lasting: Stack) -> None:
    first, second = lasting.worker(), lasting.worker()
    keys, sent = ["a", "b", "c", "d"], costly(80, part=2)
    for number in range(sent):
        tell(lasting, keys[number % 4], "deposit", number, id=f"m{number}")
        if number == sent // 3:
            first.kill()
        if number == 2 * sent // 3:
            third = lasting.worker()
            second.kill()
    assert third.running
    wanted = {key: sum(range(n, sent, 4)) for n, key in enumerate(keys)}
    eventually(
        lambda: {key: cents(lasting, key) for key in keys} == wanted,
        timeout_s=3 * SOON_S,
    )


def test_where_there_are_keys_neither_messages_nor_states_are_readable(
    lasting: Stack, tmp_path: Path
) -> None:
    key, path = fernet_key("key"), tmp_path / "sentinel-path"
    lasting.worker(env={"AGENTS_FERNET_KEYS": key})
    with Client(lasting.redis_url, fernet_keys=[key]) as client:
        about: Any = {"timeout": SOON_S}
        path.touch()
        assert client.actors.ask("Account", "ada", "gate", str(path), id="g", **about) == "open"
        assert client.actors.ask("Account", "ada", "gate", str(path), id="g", **about) == "open"
        with pytest.raises(IdInUseError):
            client.actors.tell("Account", "ada", "deposit", 1, id="g", **about)
        assert client.actors.ask("Account", "bob", "pull", "ada", 5, **about) == -5

        def kept() -> Any:
            found = client.actors.state("Account", "ada", **about)
            return None if found is None else found.value

        eventually(lambda: kept() == {"cents": -5, "log": ["open"]})  # once bob has been told
    query = select(Entry.data).where(Entry.stream.startswith("payments").is_(False))
    told = json.dumps([*lasting.read(lambda c: c.execute(query).scalars().all())])
    assert "gate" not in told
    assert "cents" not in told


def test_another_worker_goes_on_amid_a_method_that_waits(lasting: Stack, tmp_path: Path) -> None:
    path, first = tmp_path / "gate", lasting.worker()
    tell(lasting, "ada", "deposit", 1)
    tell(lasting, "ada", "gate", str(path))
    tell(lasting, "ada", "deposit", 1)
    eventually(lambda: lasting.members(id_of(lasting, "ada")))
    first.kill()
    lasting.worker()
    path.touch()
    assert ask(lasting, "ada", "deposit", 1) == 3
    assert value(lasting, "ada") == {"cents": 3, "log": ["open"]}


def test_one_that_was_frozen_amid_messages_writes_nothing_twice(lasting: Stack) -> None:
    frozen, _ = lasting.worker(), lasting.worker()
    sent = costly(80, part=2)
    for number in range(sent // 2):
        tell(lasting, f"k{number % 4}", "deposit", 1, id=f"m{number}")
    lasting.freeze(frozen)
    for number in range(sent // 2, sent):
        tell(lasting, f"k{number % 4}", "deposit", 1, id=f"m{number}")
    time.sleep(3)  # longer than its lease
    frozen.resume()
    wanted = dict.fromkeys(("k0", "k1", "k2", "k3"), sent // 4)
    eventually(lambda: {k: cents(lasting, k) for k in wanted} == wanted, timeout_s=2 * SOON_S)
    time.sleep(3)  # for what it had under way when it was frozen
    assert {k: cents(lasting, k) for k in wanted} == wanted


@pytest.mark.databases("sqlite")
def test_its_commands(acting: Stack) -> None:
    def run(*argv: str) -> Any:
        about = ("--tenant", acting.tenant, "--json")
        done = celery("-A", APP, "agents", "actors", *argv, *about, env=acting.env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert run("ask", "Account", "ada", "deposit", "5") == {"value": 5}
    assert run("state", "Account", "ada")["value"]["cents"] == 5
    assert run("list", "Account")[0]["key"] == "ada"
