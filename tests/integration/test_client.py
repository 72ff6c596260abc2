"""The client, a real broker, a real worker: from the call to the value."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from pathlib import Path

import pytest
from celery import chain, chord, group

from celery_agents import Client, RetryPolicy, State
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import (
    AgentFailedError,
    DeadlineExceededError,
    PayloadTooLargeError,
    ProviderUnavailableError,
    ResultTimeoutError,
    StepCancelledError,
)
from celery_agents.wire.ids import new_id
from tests.integration.harness import (
    COROUTINES,
    PREFORK,
    SOON_S,
    Stack,
    celery,
    eventually,
    lines,
)
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

QUICK = RetryPolicy(base_delay_s=0.05)


class TestAsk:
    def test_gives_the_value(self, client: Client) -> None:
        run = client.ask("shout", "hello")
        assert run.get(timeout=SOON_S) == "HELLO"
        assert run.ready()

    @pytest.mark.parametrize("value", [None, 0, 1.5, "ж€😀", [1, [2]], {"a": {"b": None}}, ""])
    def test_carries_any_json(self, client: Client, value: JsonValue) -> None:
        assert client.ask("noop", value).get(timeout=SOON_S) == value

    def test_outcome_says_how_it_went(self, client: Client) -> None:
        run = client.ask("flaky", {"until": 2}, retry=QUICK)
        run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert (outcome.state, outcome.value) == (State.SUCCEEDED, "attempt 2")
        assert (outcome.agent, outcome.attempts) == ("flaky", 2)
        assert outcome.duration_s is not None
        assert 0 < outcome.duration_s < 60

    def test_outcome_is_none_before_the_end(self, client: Client, counted: Path) -> None:
        run = client.ask("slow", {"seconds": 60, "path": str(counted)})
        eventually(lambda: lines(counted))
        assert run.outcome() is None
        assert not run.ready()
        run.cancel()
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)

    def test_status_tells_of_what_is_only_queued(self, client: Client, stack: Stack) -> None:
        elsewhere = Client(stack.redis_url, queue="nobody.listens")
        run = elsewhere.ask("noop", 1)
        status = client.runs.status(run.id)
        assert status is not None
        assert status["state"] in {"queued", "ready"}  # recovery may have made its row
        assert [(s["agent"], s["waits_for"]) for s in status["steps"]] == [
            ("noop", "queue nobody.listens")
        ]
        done = celery("-A", APP, "agents", "status", run.id, env=stack.env)
        told = done.stdout
        assert "noop" in told
        assert "waits for queue nobody.listens" in told
        run.cancel()

    def test_status_is_the_tree_of_the_run(self, client: Client) -> None:
        run = client.vote(["yes", "yes", "no"], "?")
        run.get(timeout=SOON_S)
        status = run.status()
        assert status is not None
        assert (status["id"], status["task"], status["state"]) == (
            run.id,
            "agents.vote",
            "succeeded",
        )
        root, *members = status["steps"]
        assert root["parent_id"] is None
        assert {m["parent_id"] for m in members} == {run.id}
        assert len(members) == 3
        assert client.runs.status(str(uuid.uuid4())) is None

    def test_a_run_is_found_again_by_its_id(self, client: Client) -> None:
        run_id = client.ask("shout", "again").id
        assert client.runs.handle(run_id).get(timeout=SOON_S) == "AGAIN"

    def test_the_same_id_runs_once(self, client: Client, counted: Path) -> None:
        run_id = str(uuid.uuid4())
        runs = [
            client.ask("count", {"path": str(counted), "value": 7}, id=run_id) for _ in range(3)
        ]
        assert [r.get(timeout=SOON_S) for r in runs] == [7, 7, 7]
        assert lines(counted) == [run_id]

    def test_many_in_few_writes(self, client: Client) -> None:
        runs = client.ask.many("shout", [f"word {n}" for n in range(60)])
        assert [r.get(timeout=SOON_S) for r in runs] == [f"WORD {n}" for n in range(60)]

    def test_timeout_of_get_leaves_the_run_alone(self, client: Client, counted: Path) -> None:
        run = client.ask("slow", {"seconds": 1.5, "path": str(counted), "value": "late"})
        with pytest.raises(ResultTimeoutError, match=run.id):
            run.get(timeout=0.1)
        assert run.get(timeout=SOON_S) == "late"

    def test_await(self, client: Client) -> None:
        async def both() -> list[object]:
            return list(
                await asyncio.gather(*(_value(client.ask("shout", word)) for word in ("a", "b")))
            )

        assert asyncio.run(both()) == ["A", "B"]

    def test_await_raises_the_error(self, client: Client) -> None:
        async def fails() -> None:
            await client.ask("refused", "no way")

        with pytest.raises(AgentFailedError, match="no way"):
            asyncio.run(fails())

    def test_a_megabyte_is_refused_at_the_door(self, client: Client, stack: Stack) -> None:
        before = stack.counts()
        with pytest.raises(PayloadTooLargeError, match="262,144"):
            client.ask("noop", "x" * 1_000_000)
        assert stack.counts() == before

    def test_intake_is_cleared(self, client: Client, stack: Stack) -> None:
        run = client.ask("shout", "x")
        run.get(timeout=SOON_S)
        eventually(lambda: not stack.redis.hexists("agents:intake", run.id))


async def _value(run: object) -> object:
    return await run  # type: ignore[misc]  # a Run is awaitable


class TestRetry:
    def test_waits_grow_and_are_told(self, client: Client, stack: Stack, counted: Path) -> None:
        policy = RetryPolicy(max_attempts=5, base_delay_s=0.2, max_delay_s=0.3)
        run = client.ask("flaky", {"until": 4, "path": str(counted)}, retry=policy)
        assert run.get(timeout=SOON_S) == "attempt 4"
        assert lines(counted) == [f"attempt {n}" for n in range(1, 5)]
        retries = stack.events(run.id, "retry")
        assert [e["data"]["attempt"] for e in retries] == [1, 2, 3]
        for event, ceiling in zip(retries, (0.2, 0.3, 0.3), strict=True):
            assert 0 <= event["data"]["delay_s"] <= ceiling
            assert event["data"]["error"] == "unavailable"
        for one, after in itertools.pairwise(retries):
            assert after["at"] - one["at"] >= one["data"]["delay_s"] - 0.3  # a timer may be early

    def test_retry_after_is_a_lower_bound(self, client: Client, stack: Stack) -> None:
        run = client.ask("flaky", {"until": 2, "retry_after_s": 0.8}, retry=QUICK)
        run.get(timeout=SOON_S)
        assert stack.events(run.id, "retry")[0]["data"]["delay_s"] >= 0.8

    def test_the_last_error_is_raised(self, client: Client) -> None:
        policy = RetryPolicy(max_attempts=2, base_delay_s=0.05)
        run = client.ask("flaky", {"until": 9}, retry=policy)
        with pytest.raises(ProviderUnavailableError, match="down in attempt 2"):
            run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert (outcome.state, outcome.attempts) == (State.FAILED, 2)
        assert outcome.error is not None
        assert outcome.error.kind == "unavailable"

    def test_permanent_errors_are_not_retried(self, client: Client, stack: Stack) -> None:
        run = client.ask("refused", "for good")
        with pytest.raises(AgentFailedError, match="for good"):
            run.get(timeout=SOON_S)
        assert stack.row(run.id).attempts == 1
        assert stack.events(run.id, "retry") == []

    def test_a_finished_call_is_not_made_again(
        self, client: Client, stack: Stack, counted: Path
    ) -> None:
        run = client.ask("two_calls", {"path": str(counted)}, retry=QUICK)
        assert run.get(timeout=SOON_S) == "first of attempt 1, second of attempt 2"
        assert [line.split()[0] for line in lines(counted)] == ["first", "second"]
        assert stack.calls_made_twice() == 0

    def test_acts_of_any_form(self, client: Client, stack: Stack) -> None:
        run = client.ask("acts_in_any_form", None)
        assert run.get(timeout=SOON_S) == [{"paid": 1}, "36 characters"]
        assert [call.name for call in stack.calls(run.id)][-2:] == ["keyless", "plain"]


class TestTimes:
    def test_timeout_cancels_the_work(self, client: Client, counted: Path) -> None:
        run = client.ask(
            "slow",
            {"seconds": 30, "path": str(counted)},
            timeout_s=0.5,
            retry=RetryPolicy(max_attempts=1),
        )
        with pytest.raises(DeadlineExceededError, match=r"0\.5 s"):
            run.get(timeout=SOON_S)
        assert lines(counted) == ["begin", "cancelled"]

    def test_deadline_bounds_all_attempts(self, client: Client, stack: Stack) -> None:
        run = client.ask(
            "flaky",
            {"until": 99},
            deadline_s=4,
            retry=RetryPolicy(max_attempts=100, base_delay_s=0.3, max_delay_s=0.3),
        )
        with pytest.raises((ProviderUnavailableError, DeadlineExceededError)):
            run.get(timeout=SOON_S)
        row = stack.row(run.id)
        assert 1 < row.attempts < 100
        assert row.finished_at - row.created_at < SOON_S

    def test_deadline_passes_while_it_runs(self, client: Client, counted: Path) -> None:
        run = client.ask("slow", {"seconds": 30, "path": str(counted)}, deadline_s=3)
        with pytest.raises(DeadlineExceededError):
            run.get(timeout=SOON_S)
        assert set(lines(counted)) == {"begin", "cancelled"}


class TestCanvas:
    def test_chain_hands_values_on(self, client: Client) -> None:
        result = chain(
            client.ask.s("shout", "a"), client.ask.s("noop"), client.ask.s("shout")
        ).apply_async()
        assert result.get(timeout=SOON_S) == "A"

    def test_group(self, client: Client) -> None:
        result = group(client.ask.s("shout", word) for word in "abc").apply_async()
        assert result.get(timeout=SOON_S) == ["A", "B", "C"]

    def test_chord_of_the_client(self, client: Client) -> None:
        header = [client.ask.s("shout", word) for word in "abc"]
        result = chord(header)(client.ask.s("noop"))
        assert result.get(timeout=SOON_S) == ["A", "B", "C"]

    def test_chord_of_patterns(self, client: Client) -> None:
        header = [client.vote.s(["yes", "yes", "no"], "?"), client.fallback.s(["shout"], "b")]
        decision, shouted = chord(header)(client.ask.s("noop")).get(timeout=SOON_S)
        assert (decision["option"], shouted) == ("yes", "B")

    @pytest.mark.usefixtures("shop")
    def test_ends_with_another_apps_task(self, client: Client) -> None:
        answer = client.celery.signature("shop.answer", queue="shop")
        whole = client.ask.s("noop", "is it so?") | client.vote.s(["yes", "no", "yes"]) | answer
        result = whole.apply_async()
        said = result.get(timeout=SOON_S)
        assert said.startswith("shop says: ")
        assert "'option': 'yes'" in said
        assert result.parent.parent.get(timeout=SOON_S) == "is it so?"

    def test_a_failed_link_fails_the_chain(self, client: Client) -> None:
        result = (client.ask.s("refused", "no") | client.ask.s("shout")).apply_async()
        with pytest.raises(AgentFailedError):
            result.parent.get(timeout=SOON_S)

    def test_a_retried_link_goes_on(self, client: Client) -> None:
        flaky = client.ask.s("flaky", {"until": 3}, retry=QUICK)
        assert (flaky | client.ask.s("shout")).apply_async().get(timeout=SOON_S) == "ATTEMPT 3"

    def test_link_and_link_error_are_called(self, client: Client) -> None:
        good, ill = str(uuid.uuid4()), str(uuid.uuid4())
        client.ask.s("noop", "x").apply_async(link=client.ask.s("shout").set(task_id=good))
        assert client.runs.handle(good).get(timeout=SOON_S) == "X"
        told = client.ask.s("noop", "told").set(task_id=ill, immutable=True)
        told.immutable = True
        client.ask.s("refused", "x").apply_async(link_error=told)
        assert client.runs.handle(ill).get(timeout=SOON_S) == "told"


class TestCancel:
    def test_before_it_started(self, fast: Stack, counted: Path) -> None:
        run = fast.client.ask("count", {"path": str(counted)})
        run.cancel()
        fast.worker([*COROUTINES[:2], "-Q", "agents.control"])
        eventually(lambda: fast.state(run.id) == "cancelled")
        assert fast.client.celery.control.add_consumer("agents", reply=True)
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)
        assert lines(counted) == []

    def test_while_it_waits_to_be_tried_again(self, client: Client, stack: Stack) -> None:
        run = client.ask("flaky", {"until": 2, "retry_after_s": 300})
        eventually(lambda: stack.events(run.id, "retry"))
        run.cancel()
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)

    def test_before_anything_was_sent(self, client: Client, stack: Stack, counted: Path) -> None:
        run_id = str(uuid.uuid4())
        client.runs.cancel(run_id)
        eventually(lambda: stack.state(run_id) == "cancelled")
        run = client.ask("count", {"path": str(counted)}, id=run_id)
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)
        assert lines(counted) == []
        outcome = run.outcome()
        assert outcome is not None
        assert outcome.state is State.CANCELLED

    @pytest.mark.parametrize("pool", [COROUTINES, PREFORK], ids=["coroutines", "prefork"])
    def test_while_every_slot_is_taken(self, fast: Stack, counted: Path, pool: list[str]) -> None:
        """The task that cancels waits for a slot, too; the workers' main threads do not."""
        fast.worker([*pool, "--concurrency", "2"])
        runs = [fast.client.ask("slow", {"seconds": 60, "path": str(counted)}) for _ in "ab"]
        eventually(lambda: lines(counted) == ["begin"] * 2)
        runs[0].cancel()
        with pytest.raises(StepCancelledError):
            runs[0].get(timeout=15)
        assert fast.state(runs[1].id) == "running"

    def test_while_it_runs(self, client: Client, stack: Stack, counted: Path) -> None:
        run = client.ask("slow", {"seconds": 60, "path": str(counted)})
        eventually(lambda: lines(counted))
        run.cancel()
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)
        assert lines(counted) == ["begin", "cancelled"]
        assert stack.state(run.id) == "cancelled"

    def test_a_pattern_with_its_members(self, client: Client, stack: Stack) -> None:
        run = client.vote(["hangs", "hangs", "yes"], "?", rule="unanimous")
        eventually(lambda: [m.state for m in stack.members(run.id).values()].count("running") == 2)
        run.cancel()
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)
        members = stack.members(run.id)
        eventually(
            lambda: {m.state for m in stack.members(run.id).values()} == {"cancelled", "succeeded"}
        )
        assert len(members) == 3

    def test_after_the_end(self, client: Client, stack: Stack) -> None:
        run = client.ask("shout", "done")
        assert run.get(timeout=SOON_S) == "DONE"
        run.cancel()
        assert client.runs.status(run.id) is not None  # the control queue has got past it
        assert stack.state(run.id) == "succeeded"
        assert run.get(timeout=5) == "DONE"


class TestCommandsWithRunIds:
    """With the service's app they need no worker, and with the client alone no journal."""

    @pytest.mark.parametrize("which", [["-A", APP], []], ids=["service", "client"])
    @pytest.mark.parametrize("word", ["cancel", "status"])
    def test_unknown(self, stack: Stack, which: list[str], word: str) -> None:
        nobody = f"nobody-{new_id()}"
        done = celery(*which, "agents", word, nobody, env=stack.env)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: There is no run {nobody}")
        assert stack.row(nobody) is None

    @pytest.mark.parametrize("which", [["-A", APP], []], ids=["service", "client"])
    def test_cancelled_while_it_runs(self, stack: Stack, which: list[str]) -> None:
        run = stack.client.ask("hangs", None)
        eventually(lambda: stack.state(run.id) == "running")
        done = celery(*which, "agents", "cancel", run.id, env=stack.env)
        assert (done.returncode, done.stderr) == (0, "")
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)

    @pytest.mark.parametrize("which", [["-A", APP], []], ids=["service", "client"])
    def test_cancelled_while_no_worker_has_seen_it(self, fast: Stack, which: list[str]) -> None:
        run = fast.client.ask("hangs", None)  # recorded, and in the queue
        done = celery(*which, "agents", "cancel", run.id, env=fast.env)
        assert (done.returncode, done.stderr) == (0, "")
        fast.worker()
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)

    @pytest.mark.parametrize("which", [["-A", APP], []], ids=["service", "client"])
    def test_cancelled_ahead(self, stack: Stack, which: list[str]) -> None:
        run_id = new_id()
        done = celery(*which, "agents", "cancel", "--ahead", run_id, env=stack.env)
        assert done.returncode == 0, done.stderr
        eventually(lambda: stack.state(run_id) == "cancelled")


def test_priorities_first_comes_first(fast: Stack, counted: Path) -> None:
    runs = [
        fast.client.ask("count", {"path": str(counted)}, priority=priority, id=word)
        for priority, word in ((9, "last"), (5, "middle"), (0, "first"))
    ]
    fast.worker(["--concurrency", "1", *COROUTINES[2:]])
    for run in runs:
        run.get(timeout=SOON_S)
    assert lines(counted) == ["first", "middle", "last"]
