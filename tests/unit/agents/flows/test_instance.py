from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.flows import pattern
from agents.flows.history import CLEANUP_S, Difference, Line
from agents.flows.instance import Instance
from agents.flows.pattern import Advanced, advance, begins_anew, begun, dropped, next_due
from agents.plan import Member
from celery_agents.contracts.outcome import ErrorInfo, State
from celery_agents.errors import AgentFailedError, HistoryTooLargeError, InvalidPayloadError
from celery_agents.noted import Notes
from tests.support import flows

Code = Callable[[Any, Any], Awaitable[Any]]
STARTED = Line("started", "1", 100.0)
#: Schedules of the suite; ``FULL`` of them are tried by hand, with the same seeds.
SEEDS = 12


class Played:
    """A flow whose run is made up: each wake is a new instance, told all from its start."""

    def __init__(self, code: Code, told: Any, seed: int = 0) -> None:
        self.code = code
        self.told = told
        self.rng = random.Random(seed)
        self.at = STARTED.at
        self.history: list[Line] = []
        self.open: dict[str, Member] = {}
        self.signals = [("a", 1), ("b", 2), ("a", 3), ("b", 4)]
        self.wakes = 0
        self.outcome: Any = None

    def wake(self, news: list[Line]) -> Advanced:
        instance = begun(self.code, "run-1", self.told, self.history)
        assert instance.difference is None, instance.difference
        found = advance(instance, self.code, self.told, news, self.at)
        dropped(instance)
        self.history += [Line.of(line.kind, line.data) for line in found.lines]
        self.open |= {m.key: m for m in found.members}
        for key in found.cancels:
            self.open.pop(key, None)
        self.outcome = found.outcome
        self.wakes += 1
        return found

    def play(self) -> Any:
        """Let it come to its end in one of its orders."""
        self.wake([STARTED])
        while self.outcome is None:
            self.at += self.rng.choice([0.0, 1.0, 4.0, 8.0])
            news = [self._end(k) for k in self.rng.sample([*self.open], self._some(self.open))]
            some = range(self._some(self.signals))
            news += [Line("signal", *self._signal()) for _ in some]
            self.wake(news)
        return self.outcome

    def _some(self, these: Any) -> int:
        return self.rng.randint(0, len(these))

    def _signal(self) -> tuple[str, float, Any]:
        name, value = self.signals.pop(0)
        return name, self.at, value

    def _end(self, key: str) -> Line:
        asked = self.open.pop(key)
        if asked.agent == "broken":
            error = ErrorInfo.of(AgentFailedError("it is broken")).compact()
            return Line("failed", key, self.at, error)
        person = {"choice": True, "by": "ada"}
        return Line("done", key, self.at, person if asked.waits else asked.input)


@pytest.mark.parametrize("code", flows.EACH, ids=lambda code: code.__name__)
def test_whatever_comes_first_each_replay_does_the_same(code: Code) -> None:
    for seed in range(SEEDS):
        played = Played(code, 6, seed)
        outcome = played.play()
        assert outcome.ok, outcome.error
        # Another process, in which all that Python keeps by addresses lies elsewhere.
        again = begun(code, "run-1", 6, played.history)
        assert again.difference is None
        assert again.main is not None
        assert again.main.done()


class TestWhatAsyncioDoes:
    def test_branches_come_in_their_order(self) -> None:
        outcome = Played(flows.branches, None, 3).play()
        assert outcome.value == [0, 11, 22, 33]

    def test_who_waits_too_long_lets_go(self) -> None:
        played = Played(flows.in_time, None)
        played.wake([STARTED])
        played.at += 5
        found = played.wake([])
        assert found.cancels == ["1"]
        assert [m.input for m in found.members] == [1]
        # It ends all the same, and nobody is told.
        played.wake([Line("done", "1", played.at, "too late")])
        for _ in (1, 2):
            (key,) = played.open
            played.wake([played._end(key)])
        assert played.outcome.value == ["late", 1, 2]

    def test_sleepers_wake_when_their_time_has_come(self) -> None:
        played = Played(flows.sleepy, None)
        assert played.wake([STARTED]).members == ()
        played.at += 2
        assert [m.input for m in played.wake([]).members] == [1, 2]
        played.at += 0.5
        assert played.wake([]).members == ()

    def test_cleaning_up_is_done_once_and_only_by_who_ends(self) -> None:
        played = Played(flows.stubborn, "x")
        outcome = played.play()
        assert outcome.value == ["agent_failed", "mended"]
        asked = [c.name for line in played.history for c in line.commands]
        assert asked == ["broken", "echo", "echo"]

    def test_a_signal_that_comes_early_is_kept(self) -> None:
        played = Played(flows.signalled, None)
        played.wake([STARTED, *(Line("signal", n, 100.0, n.upper()) for n in "bac")])
        played.wake([Line("done", "1", 101.0, 1), Line("signal", "a", 101.0, "A2")])
        assert played.outcome.value == [["b", "B"], ["a", "A"], ["a", "A2"]]


class TestCancelling:
    """A flow that is cancelled is told so where it waits."""

    @staticmethod
    def _cancelled(code: Code) -> Played:
        played = Played(code, None)
        played.wake([STARTED])
        played.wake([Line("cancel", "", played.at)])
        return played

    def test_it_cleans_up_and_ends_as_cancelled(self) -> None:
        played = Played(flows.tidy, None)
        played.wake([STARTED])
        found = played.wake([Line("cancel", "", played.at)])
        assert found.cancels == ["1"]
        assert [m.input for m in found.members] == ["cleaned"]
        assert found.outcome is None
        found = played.wake([played._end(key) for key in [*played.open]])
        assert found.outcome is not None
        assert found.outcome.state is State.CANCELLED
        assert begun(flows.tidy, "run-1", None, played.history).difference is None

    def test_it_ends_where_it_is_when_its_time_is_over(self) -> None:
        played = self._cancelled(flows.tidy)
        played.at += CLEANUP_S - 1
        assert played.wake([]).outcome is None
        played.at += 1
        assert played.wake([]).outcome.state is State.CANCELLED  # type: ignore[union-attr]

    def test_its_time_wakes_it(self) -> None:
        played = self._cancelled(flows.tidy)
        instance = begun(flows.tidy, "run-1", None, played.history)
        assert next_due(instance) == played.at + CLEANUP_S

    def test_one_that_answers_all_the_same_has_succeeded(self) -> None:
        async def code(run: Any, told: Any) -> Any:
            try:
                await run.signal("go")
            except asyncio.CancelledError:
                return "stopped"

        assert self._cancelled(code).outcome.value == "stopped"


async def io(run: Any, told: Any) -> None:
    await asyncio.to_thread(time.sleep, 1)


async def connects(run: Any, told: Any) -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def stuck(run: Any, told: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def of_sets(run: Any, told: Any) -> None:
    for _ in asyncio.as_completed([flows._two(run, n) for n in range(3)]):
        return


async def fails(run: Any, told: Any) -> None:
    raise ZeroDivisionError("1/0")


async def unkept(run: Any, told: Any) -> Any:
    return object()


async def leaves(run: Any, told: Any) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (io, "flow", "Let an agent do it"),
        (connects, "flow", "no I/O"),
        (stuck, "flow", "nobody brings"),
        (of_sets, "flow", "give it tasks"),
        (fails, "agent_failed", "ZeroDivisionError"),
        (unkept, "agent_failed", "cannot be kept"),
        (leaves, "agent_failed", "SystemExit"),
    ],
)
def test_what_no_flow_may_do_is_told(code: Code, kind: str, told: str) -> None:
    found = Played(code, None).wake([STARTED]).outcome
    assert found is not None
    assert found.error is not None
    assert (found.state, found.error.kind) == (State.FAILED, kind)
    assert told in found.error.message


@pytest.mark.parametrize(("code", "told"), [(fails, ["ZeroDivisionError"]), (stuck, []), (io, [])])
def test_what_a_flow_should_not_raise_is_in_the_log(
    code: Code,
    told: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pattern, "note", Notes().note)
    Played(code, None).wake([STARTED])
    found = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [error in one.getMessage() for error, one in zip(told, found, strict=True)] == [
        True for _ in told
    ]
    assert all("in fails" in one.getMessage() for one in found)


def test_one_that_goes_round_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spins(run: Any, told: Any) -> None:
        for _ in range(100_000):
            await asyncio.sleep(0)

    monkeypatch.setattr("agents.flows.loop.TURNS_MAX", 1_000)
    found = Played(spins, None).wake([STARTED]).outcome
    assert found is not None
    assert found.error is not None
    assert "round" in found.error.message


def test_a_wrong_question_is_refused_where_it_is_asked_each_time() -> None:
    async def wrong(run: Any, told: Any) -> Any:
        try:
            await run.ask("echo", told, choicse=["a"])
        except InvalidPayloadError as error:
            return [str(error), await run.ask("echo", 1)]

    outcome = Played(wrong, None).play()
    assert "choicse" in outcome.value[0]


async def dropped_one(run: Any, told: Any) -> Any:
    await run.ask("echo", 2)


async def other_input(run: Any, told: Any) -> Any:
    await run.ask("echo", 7, key="first")


async def other_key(run: Any, told: Any) -> Any:
    await run.ask("echo", 1, key="one")


async def other_kind(run: Any, told: Any) -> Any:
    await run.start("echo", 1, key="first")


async def other_option(run: Any, told: Any) -> Any:
    await run.ask("echo", 1, key="first", timeout_s=3.0)


async def added(run: Any, told: Any) -> Any:
    await asyncio.gather(run.ask("echo", 1, key="first"), run.ask("new", 1))


async def swapped(run: Any, told: Any) -> Any:
    await run.ask("echo", 1, key="first")
    await asyncio.gather(run.ask("other", 3), run.ask("echo", 2))


async def ended(run: Any, told: Any) -> Any:
    await run.ask("echo", 1, key="first")


async def slept_longer(run: Any, told: Any) -> Any:
    await run.ask("echo", 1, key="first")
    await asyncio.gather(run.ask("echo", 2), run.ask("other", 3))
    await asyncio.sleep(6)


class TestBeginningAnew:
    @staticmethod
    def _advanced(history: list[Line], news: list[Line]) -> tuple[Instance, Advanced]:
        told: Any = {"found": []}
        instance = begun(flows.counting, "run-1", told, history)
        assert instance.difference is None
        return instance, advance(instance, flows.counting, told, news, 200.0)

    def test_it_has_its_state_and_the_words_that_nobody_took(self) -> None:
        words = [Line("signal", n, 101.0, v) for n, v in [("word", 1), ("kept", 2), ("word", 3)]]
        _, found = self._advanced([], [STARTED, *words])
        assert [m.key for m in found.members] == ["count"]
        more = [Line("signal", "word", 102.0, 4), Line("done", "count", 103.0, 2)]
        instance, found = self._advanced(found.lines, more)
        assert (found.members, found.outcome) == ((), None)
        line = begins_anew(instance, found, 104.0, 2, heard=3)
        assert (line.value["version"], line.value["generation"], line.place) == (2, 1, 3)
        assert line.value["input"] == {"found": [1, 3, 2]}
        assert sorted(line.value["signals"]) == [["kept", 2], ["word", 4]]
        line = Line.of(line.kind, line.data)
        again = Instance("run-1", 1)
        assert again.random.random() != Instance("run-1").random.random()
        first = advance(again, flows.counting, None, [line], 104.0)
        word = [Line("signal", "word", 105.0, 5)]
        later = advance(again, flows.counting, None, word, 105.0)
        assert [m.key for m in later.members] == ["count@1"]
        history = [*first.lines, *later.lines]
        assert begun(flows.counting, "run-1", None, history).difference is None

    def test_one_that_is_cancelled_does_not(self) -> None:
        async def code(run: Any, told: Any) -> Any:
            try:
                await run.signal("go")
            finally:
                run.again(told)

        played = Played(code, None)
        played.wake([STARTED])
        found = played.wake([Line("cancel", "", 101.0)])
        assert found.outcome is not None
        assert found.outcome.state is State.CANCELLED

    def test_keys_of_generations_are_the_services_own(self) -> None:
        async def code(run: Any, told: Any) -> Any:
            await run.ask("echo", 1, key=told)

        for key in ("1", "count@1"):
            outcome = Played(code, key).wake([STARTED]).outcome
            assert outcome is not None
            assert outcome.error is not None
            assert outcome.error.kind == "invalid_payload"

    def test_a_history_that_is_too_long_is_told_where_it_can_be_caught(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def code(run: Any, told: Any) -> Any:
            number = 0
            try:
                while True:
                    number = await run.ask("echo", number + 1)
            except HistoryTooLargeError:
                run.again(number)

        monkeypatch.setattr("agents.flows.instance.LINES_MAX", 4)
        played = Played(code, None)
        found = played.wake([STARTED])
        while found.state is None:
            found = played.wake([played._end(key) for key in [*played.open]])
        assert found.state.state == 4
        assert len(played.history) == 5


class TestDifferences:
    """Code that was changed while runs of it were under way."""

    @staticmethod
    def _before() -> list[Line]:
        async def code(run: Any, told: Any) -> Any:
            first = await run.ask("echo", 1, key="first")
            second, third = await asyncio.gather(run.ask("echo", 2), run.ask("other", 3))
            await asyncio.sleep(5)
            return [first, second, third, await run.signal("go")]

        played = Played(code, None)
        played.wake([STARTED])
        played.wake([Line("done", "first", 101.0, 1)])
        played.wake([Line("done", "2", 102.0, 2), Line("done", "1", 102.0, 2)])
        played.at = 110.0
        played.wake([])
        assert played.outcome is None
        assert played.history[-1].kind == "timer"
        return played.history

    def _difference(self, code: Code) -> Difference | None:
        return begun(code, "run-1", None, self._before()).difference

    def test_harmless_changes_are_none(self) -> None:
        async def helper(run: Any) -> Any:
            return await run.ask("echo", 1, key="first")

        async def code(run: Any, told: Any) -> Any:
            results = [await helper(run)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._asked(run, a, n)) for a, n in _ASKED]
            await asyncio.sleep(5)
            results += [task.result() for task in tasks]
            extra = await run.signal("go")
            await run.ask("more", extra)
            return results

        assert self._difference(code) is None

    @staticmethod
    async def _asked(run: Any, agent: str, told: int) -> Any:
        return await run.ask(agent, told)

    def test_each_other_one_is_found_at_its_line(self) -> None:
        for code, line in (
            *((dropped_one, 0), (other_input, 0), (other_key, 0), (other_kind, 0)),
            *((other_option, 0), (added, 0), (swapped, 1), (ended, 1), (slept_longer, 3)),
        ):
            found = self._difference(code)
            assert found is not None, code.__name__
            assert found.line == line, code.__name__
            number = int(found.place.rpartition(":")[2]) if ":" in found.place else None
            first = code.__code__.co_firstlineno
            assert number is None or first < number <= first + 3, (code.__name__, found)

    def test_a_patch_is_for_runs_that_have_not_come_past_it(self) -> None:
        async def code(run: Any, told: Any) -> Any:
            if run.patched("new"):
                await run.ask("check", 0, key="check")
            first = await run.ask("echo", 1, key="first")
            second, third = await asyncio.gather(run.ask("echo", 2), run.ask("other", 3))
            await asyncio.sleep(5)
            later = run.patched("later") and await run.ask("check", 1)
            go = await run.signal("go")
            return [run.patched("new"), run.patched("later"), first, second, third, later, go]

        assert self._difference(code) is None  # it has come past both
        old = Played(code, None)
        old.history = self._before()
        old.wake([Line("signal", "go", 111.0, 7)])
        assert old.outcome.value[:2] == [False, False]
        played = Played(code, None)
        found = played.wake([STARTED])
        assert [m.agent for m in found.members] == ["check"]
        assert [c.kind for c in played.history[0].commands] == ["patched", "ask"]
        for _ in range(5):
            played.at += 5
            played.wake([played._end(key) for key in [*played.open]])
        played.wake([Line("signal", "go", played.at, 7)])
        assert played.outcome.value == [True, True, 1, 2, 3, 1, 7]

        async def without(run: Any, told: Any) -> Any:
            await run.ask("check", 0, key="check")
            first = await run.ask("echo", 1, key="first")
            second, third = await asyncio.gather(run.ask("echo", 2), run.ask("other", 3))
            await asyncio.sleep(5)
            later = await run.ask("check", 1)
            return [first, second, third, later, await run.signal("go")]

        assert begun(without, "run-1", None, played.history).difference is None

    def test_it_tells_both_commands(self) -> None:
        async def code(run: Any, told: Any) -> Any:
            await run.ask("echo", 2, key="first")

        found = self._difference(code)
        assert found is not None
        assert found.recorded is not None
        assert found.asked is not None
        assert (found.recorded.key, found.asked.name) == ("first", "echo")
        assert found.recorded.digest != found.asked.digest
        assert "test_instance.py" in str(found)


_ASKED = (("echo", 2), ("other", 3))


def test_a_line_for_people_is_no_news_in_a_replay() -> None:
    """Not to one who is waited for under its key either."""

    async def code(run: Any, told: Any) -> Any:
        unread = run.ask("echo", 1, key="unread")
        return await run.signal("go"), unread.done()

    played = Played(code, None)
    played.wake([STARTED, Line("signal", "go", 100.0, 1), Line("signal", "more", 100.0, 2)])
    assert played.outcome.value == [1, False]
    again = begun(code, "run-1", None, [*played.history, Line("unread", "unread", 101.0, [])])
    assert again.difference is None
    assert [*again.open] == ["unread"]
