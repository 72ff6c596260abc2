"""An actor's flow without a worker: what it does with what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from agents.actors.serving import _signature, flow_of
from agents.catalog.flows import Flows
from agents.flows.history import Line
from agents.flows.instance import Instance
from agents.flows.pattern import Advanced, advance
from celery_agents import ActorContext, actor
from celery_agents.actor import actor_mark_of, methods_of
from celery_agents.contracts.flows.actors import BATCH, actor_run_id
from celery_agents.contracts.outcome import State
from celery_agents.errors import ConfigurationError, FlowError, UnknownActorError
from tests.support import acting

TOLD: Any = {"actor": "Account", "key": "ada"}
RUN = actor_run_id("", "Account", "ada")


class Played:
    """An actor that is told messages in one wake after the other, as the service does it."""

    def __init__(self, kind: type = acting.Account, told: Any = TOLD) -> None:
        mark = actor_mark_of(kind)
        assert mark is not None
        self.code, self.told, self.at = flow_of(kind, mark), told, 1_000.0
        self.instance = Instance(RUN)
        self.generation = 0
        self.place = -1
        self.wake([])

    def wake(self, news: Iterable[Line]) -> Advanced:
        self.at += 1
        lines = [*news] if self.instance.lines else [self.started({}), *news]
        found = advance(self.instance, self.code, self.told, lines, self.at)
        if found.state is not None:
            self.generation += 1
            self.instance = Instance(RUN, self.generation)
            begins = self.started({"generation": self.generation, "input": found.state.state})
            after = advance(self.instance, self.code, self.told, [begins], float("-inf"))
            assert (after.outcome, after.state) == (None, None)  # one commit, and it waits
        return found

    def started(self, value: dict[str, Any]) -> Line:
        return Line("started", "", self.at, {"version": 1, **value})

    def message(self, method: str, *args: Any, wanted: bool = True, **about: Any) -> Line:
        self.place += 1
        said = {"method": method, "args": [*args], "kwargs": {}}
        value = {"id": f"m{self.place}", "wanted": wanted, "chain": [], "message": said, **about}
        return Line("signal", method, self.at, value, place=self.place)

    @property
    def state(self) -> Any:
        return self.kept["state"]

    @property
    def kept(self) -> Any:
        return self.last.state.state

    def tell(self, *news: Line) -> Advanced:
        self.last: Any = self.wake(news)
        assert isinstance(self.last, Advanced)
        return self.last


def replies(found: Advanced) -> list[Any]:
    return [one.data.get("value", one.data.get("error")) for one in found.emits]


def test_messages_of_a_wake_are_one_commit_and_64_at_most() -> None:
    played = Played()
    found = played.tell(*(played.message("deposit", 1) for _ in range(BATCH + 10)))
    assert replies(found) == [*range(1, BATCH + 1)]
    assert played.state == {"cents": BATCH, "log": []}
    assert max(line.place for line in found.lines if line.place is not None) == BATCH - 1


def test_one_that_awaits_is_told_nothing_else_until_it_goes_on() -> None:
    played = Played()
    first = played.tell(played.message("gate", "x"), *(played.message("deposit", 1),) * 3)
    assert first.state is None
    assert [line.kind for line in first.lines] == ["signal"]
    assert not played.instance.inbox.hears
    (key,) = played.instance.open
    later = played.tell(Line("done", key, played.at, "open"), played.message("deposit", 2))
    assert replies(later) == ["open", 2]
    assert played.state == {"cents": 2, "log": ["open"]}


@pytest.mark.parametrize("how", ["raise", "cancel", "exit", "state", "answer", "reads"])
def test_nothing_of_a_method_that_fails_is_kept(how: str) -> None:
    played = Played()
    found = played.tell(played.message("odd", how), played.message("deposit", 1))
    assert [one.kind for one in found.emits] == ["reply", "reply"]
    assert replies(found)[1] == 1
    assert played.state == {"cents": 1, "log": []}
    assert played.kept["reminders"] == {}
    assert not found.members


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        [],
        7,
        {"id": "m", "wanted": True, "chain": [], "message": None},
        {"id": "m", "wanted": True, "chain": [], "message": {"method": 7}},
        {"id": "m", "wanted": True, "chain": [], "message": {"method": "_hidden"}},
        {"id": "m", "wanted": True, "chain": [], "message": {"method": "deposit", "args": 5}},
    ],
)
def test_what_is_no_message_is_refused_and_the_next_one_served(value: Any) -> None:
    played = Played()
    hostile = Line("signal", "deposit", played.at, value, place=0)
    found = played.tell(hostile, played.message("deposit", 1))
    wanted = isinstance(value, dict)
    assert [one.kind for one in found.emits] == ["reply" if wanted else "dead", "reply"]
    assert played.state == {"cents": 1, "log": []}


def test_who_waits_for_an_answer_is_told_by_the_service_and_not_by_the_message() -> None:
    played = Played()
    claims = {"method": "deposit", "args": [1], "kwargs": {}, "wanted": True, "id": "other"}
    found = played.tell(played.message("deposit", 1, wanted=False, message=claims))
    assert not [one for one in found.emits if one.kind == "reply"]


def test_reminders_wait_their_time_and_let_messages_in_between() -> None:
    played = Played()
    played.tell(played.message("later", 10, 5))
    assert [*played.kept["reminders"]] == ["#1"]
    played.at += 20
    found = played.tell(played.message("deposit", 1))
    assert replies(found) == [1]
    assert played.state["cents"] == 6


@actor
class Restless:
    """Reminds itself at once, for ever."""

    rounds: int = 0

    async def go(self, me: ActorContext) -> None:
        self.rounds += 1
        me.remind(0, "go")


def test_one_that_reminds_itself_for_ever_commits_in_between() -> None:
    played = Played(Restless, {"actor": "Restless", "key": "ada"})
    for number in (1, 2):
        played.tell(played.message("go", wanted=False))
        assert played.state["rounds"] <= number * BATCH


@actor
class Stuck:
    """Waits for what never comes."""

    async def hang(self, me: ActorContext) -> None:
        await asyncio.Event().wait()

    async def go(self, me: ActorContext) -> str:
        return "on"


def test_one_that_waits_for_nothing_is_refused_when_its_time_is_over() -> None:
    played = Played(Stuck, {"actor": "Stuck", "key": "ada"})
    played.tell(played.message("hang"))
    played.at += 25 * 3_600
    (refused,) = replies(played.tell())
    assert (refused["kind"], played.last.outcome) == ("agent_failed", None)
    assert replies(played.tell(played.message("go"))) == ["on"]


def test_a_cancellation_ends_it_amid_a_method() -> None:
    played = Played()
    played.tell(played.message("gate", "x"))
    found = played.tell(Line("cancel", "", played.at, place=9))
    assert found.outcome is not None
    assert found.outcome.state is State.CANCELLED


def test_calls_of_others_wait_for_the_end_of_the_method_and_of_the_batch() -> None:
    played = Played()
    found = played.tell(played.message("pay", "bob", 1), played.message("pay", "bob", 2))
    assert found.state is None
    (call,) = found.members
    told: Any = call.input
    assert [one["args"] for one in told] == [[1], [2]]
    done = played.tell(Line("done", call.key, played.at, [[1, {"kind": "x", "message": "no"}]]))
    assert [one.data["to"] for one in done.emits] == ["Account/bob"]
    assert played.state["cents"] == -3


def test_a_call_that_comes_back_is_refused_by_whoever_makes_it() -> None:
    played = Played()
    found = played.tell(played.message("around", ["bob", "ada"], chain=["Account/bob"]))
    assert "Account/bob → Account/ada → Account/bob" in replies(found)[0]["message"]


@pytest.mark.parametrize("told", [None, "x", {}, {"actor": "Other", "key": "ada"}])
def test_a_flow_of_its_name_that_is_none_fails(told: Any) -> None:
    mark = actor_mark_of(acting.Account)
    assert mark is not None
    started = Line("started", "", 1.0, {"version": 1})
    found = advance(Instance("r"), flow_of(acting.Account, mark), told, [started], 1.0)
    assert found.outcome is not None
    assert found.outcome.error is not None
    assert found.outcome.error.kind == FlowError.kind


def test_classes_are_known_by_their_names() -> None:
    flows = Flows()
    flows.add_module(acting)
    flows.method("Account", "deposit")
    assert flows.get("actor/Account", None)[0] == 1
    for actor_name, method in (("Nobody", "deposit"), ("Account", "_x"), ("Account", "cents")):
        with pytest.raises(UnknownActorError):
            flows.method(actor_name, method)


@pytest.mark.parametrize(
    "kind",
    [
        lambda: 1,
        type("NoMethod", (), {}),
        type("Needs", (), {"__init__": divmod, "go": acting.Account.pay}),
    ],
)
def test_what_cannot_be_an_actor_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="@actor"):
        actor(kind)


def test_what_a_class_has_is_looked_up_once() -> None:
    """For each message that would take as long as all else of a short one."""

    class Kept:
        async def add(self, me: Any) -> None: ...

        async def _own(self, me: Any) -> None: ...

        def plain(self) -> None: ...

    found = methods_of(Kept)
    assert [*found] == ["add"]
    assert methods_of(Kept) is found
    with pytest.raises(TypeError):
        found["other"] = Kept.add  # type: ignore[index]
    assert _signature(Kept.add) is _signature(Kept.add)


def test_a_method_that_a_test_puts_in_the_place_of_one_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Patched:
        async def add(self, me: Any) -> None: ...

    async def other(self: Any, me: Any) -> None: ...

    before = Patched.add
    assert methods_of(Patched)["add"] is before
    with monkeypatch.context() as patch:
        patch.setattr(Patched, "add", other)
        assert methods_of(Patched)["add"] is other
    assert methods_of(Patched)["add"] is before
