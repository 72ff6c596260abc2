"""One table of values for every verb, producer, kind of agent and both databases.

What the journal carries is tried on either; what it never sees, or sees as it sees all else, on one
that the test's name decides.
"""

from __future__ import annotations

import ast
import json
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from celery import Celery

from celery_agents import Client, State
from celery_agents.errors import (
    AgentFailedError,
    AnswerTooLargeError,
    InvalidPayloadError,
)
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually
from tests.support.odd import BIG, CARRIED, GIVEN, HALF, NO_TASK, REFUSED, WRITTEN

pytestmark = pytest.mark.databases("one")

LIMIT_BYTES = 20_000


def agents_toml(url: str) -> str:
    return textwrap.dedent(f"""
        [agents.task]
        kind = "celery"
        task = "shop.echo"
        queue = "shop"

        [agents.task_gives]
        kind = "celery"
        task = "shop.gives"
        queue = "shop"

        [agents.service]
        kind = "http"
        url = "{url}/service"

        [agents.model]
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "{url}/v1"
        tools = ["tests.support.odd:cuts", "tests.support.odd:floods"]
        price = {{ input_usd = 1.0, output_usd = 2.0 }}
    """)


@pytest.fixture(scope="module")
def odd(location: Location, model: ModelServer) -> Iterator[Stack]:
    """A worker of ours and one of another app, on either database."""
    directory = location.directory
    (directory / "agents.toml").write_text(agents_toml(model.url))
    env = {
        **FAST,
        "AGENTS_MODULES": '["tests.support.odd"]',
        "AGENTS_CONFIG": str(directory / "agents.toml"),
        "AGENTS_ANSWER_LIMIT_BYTES": str(LIMIT_BYTES),
        "NOTES": str(directory / "notes"),
    }
    made = Stack(*location, env)
    shop = ["--pool", "threads", "--concurrency", "4", "-Q", "shop"]
    for worker in (
        made.worker(ready=False),
        made.worker(shop, app="tests.support.odd", ready=False),
    ):
        worker.wait_ready()
    yield made
    made.close()


@pytest.fixture
def plain(odd: Stack) -> Iterator[Celery]:
    """A producer without our checks."""
    app = Celery("somebody", broker=odd.redis_url, backend=odd.redis_url)
    yield app
    app.close()


#: Each verb by the client: how it is asked about a value, and what its answer says of that.
VERBS: dict[str, tuple[Callable[[Client, Any], Any], Callable[[Any], Any]]] = {
    "ask": (lambda c, v: c.ask("echo", v), lambda got: got),
    "ask, journaled": (lambda c, v: c.ask("kept", v), lambda got: got),
    "fallback": (lambda c, v: c.fallback(["fails", "echo"], v), lambda got: got),
    "gather": (lambda c, v: c.gather(["echo"], {"v": v}), lambda got: got.value["v"]),
    "map": (lambda c, v: c.map("echo", ["fine", v]), lambda got: got.results[1]),
    "task of another app": (lambda c, v: c.ask("task", v), lambda got: got),
}
#: The same by plain messages: task, args, kwargs.
PLAIN: dict[str, tuple[str, Callable[[Any], list[Any]], dict[str, Any], Callable[[Any], Any]]] = {
    "ask": ("agents.ask", lambda v: [v], {"agent": "echo"}, lambda got: got),
    "fallback": ("agents.fallback", lambda v: [v], {"candidates": ["echo"]}, lambda got: got),
    "gather": ("agents.gather", lambda v: [{"v": v}], {"agents": ["echo"]},
               lambda got: got["value"]["v"]),
    "map": ("agents.map", lambda v: [[v]], {"agent": "echo"}, lambda got: got["results"][0]),
}  # fmt: skip


def same(found: Any, expected: Any) -> bool:
    """Equal as JSON: True is not 1, and -0.0 is not 0.0."""
    return json.dumps(found) == json.dumps(expected)


def flat(name: str, verb: str) -> Any:
    """A value that has room in what a verb puts around it."""
    value = CARRIED[name]
    return value[0] if name == "100 levels" and verb == "gather" else value


class TestCarried:
    @pytest.mark.databases("both")
    @pytest.mark.parametrize("verb", VERBS)
    def test_by_each_verb(self, odd: Stack, verb: str) -> None:
        call, told = VERBS[verb]
        runs = {name: call(odd.client, flat(name, verb)) for name in CARRIED}
        for name, run in runs.items():
            assert same(told(run.get(timeout=SOON_S)), flat(name, verb)), name

    @pytest.mark.parametrize("verb", PLAIN)
    def test_by_plain_messages(self, odd: Stack, plain: Celery, verb: str) -> None:
        task, args, kwargs, told = PLAIN[verb]
        sent = {
            name: plain.send_task(task, args(flat(name, verb)), kwargs, queue="agents")
            for name in CARRIED
        }
        for name, result in sent.items():
            assert same(told(result.get(timeout=SOON_S)), flat(name, verb)), name

    def test_by_votes(self, odd: Stack) -> None:
        """The one who answers with it abstains, or has an option of its own; nobody is harmed."""
        voters: list[str | dict[str, Any]] = [
            "yes",
            "yes",
            {"agent": "yes", "name": "third"},
            "echo",
        ]
        runs = {
            name: odd.client.vote(voters, value, stop="none", deliberation=1, escalate="yes")
            for name, value in CARRIED.items()
        }
        for name, run in runs.items():
            assert run.get(timeout=SOON_S).option == "yes", name

    @pytest.mark.parametrize("rule", ["approval", "borda"])
    def test_in_rankings(self, odd: Stack, rule: Literal["approval", "borda"]) -> None:
        value: list[Any] = ["yes", HALF, "a\0"]
        run = odd.client.vote(["echo", "echo"], value, rule=rule, choices=["yes", "no"])
        with pytest.raises(Exception, match="without a decision"):
            run.get(timeout=SOON_S)

    def test_as_options(self, odd: Stack) -> None:
        options = {HALF: "cut \ufffd", "a\0": "a\0", "x\ud83d\ude00": "x😀"}
        runs = {told: odd.client.vote(["echo"], {"option": given, "reason": given})
                for given, told in options.items()}  # fmt: skip
        for told, run in runs.items():
            decision = run.get(timeout=SOON_S)
            assert (decision.option, decision.ballots[0].reason) == (told, told)

    def test_merged_and_joined(self, odd: Stack) -> None:
        both: dict[str, Any] = {"a\0": HALF, "n": BIG}
        merged = odd.client.gather(["echo", "kept"], both).get(timeout=SOON_S)
        assert merged.value == both
        joined = odd.client.gather(["echo", "kept"], HALF, how="concat", separator="\0")
        assert joined.get(timeout=SOON_S).value == f"{HALF}\0{HALF}"
        best = odd.client.gather(["echo", "yes"], both, how="best", judge="kept")
        with pytest.raises(Exception, match="Too few answers"):
            best.get(timeout=SOON_S)

    @pytest.mark.databases("both")
    def test_undone(self, odd: Stack) -> None:
        """A compensation is told the input and the output of what it undoes."""
        values = [v for name, v in CARRIED.items() if name != "100 levels"]
        notes = Path(odd.env["NOTES"])
        notes.unlink(missing_ok=True)
        runs = [
            odd.client.gather(["reserve", "fails"], value, at_least=2, retry={"max_attempts": 1})
            for value in values
        ]
        for run in runs:
            with pytest.raises(Exception, match="Only 1 of 2"):
                run.get(timeout=SOON_S)
            assert run.compensation.get(timeout=SOON_S) is not None
        told = [ast.literal_eval(line) for line in notes.read_text().splitlines()]
        for value in values:
            assert any(same(line, [value, {"told": value}]) for line in told)

    def test_along_a_chain(self, odd: Stack) -> None:
        first = odd.client.ask.s("echo", {"a\0": [HALF, BIG]})
        line = first | odd.client.ask.s("kept") | odd.client.ask.s("task")
        result = line.apply_async()
        assert result.get(timeout=SOON_S) == {"a\0": [HALF, BIG]}

    def test_after_it_was_lost(self, odd: Stack) -> None:
        """A record of the intake is read as a message is."""
        (worker, _) = odd.workers
        value: dict[str, Any] = {"a\0": [HALF, BIG]}
        worker.pause()
        try:
            run = odd.client.ask("echo", value)
            odd.redis.delete("agents\x06\x165")
        finally:
            worker.resume()
        assert run.get(timeout=SOON_S) == value


class TestSentOut:
    def test_to_a_service(self, odd: Stack, model: ModelServer) -> None:
        for name, value in CARRIED.items():
            if "half" in name or "halves" in name:
                continue
            model.script(Does(raw=json.dumps(value).encode()))
            assert same(odd.client.ask("service", value).get(timeout=SOON_S), value), name
            assert same(model.requests[-1].body["input"], value), name

    def test_to_a_model(self, odd: Stack, model: ModelServer) -> None:
        for name, value in CARRIED.items():
            if "half" in name or "halves" in name:
                continue
            model.script(Does(text="fine"))
            assert odd.client.ask("model", value).get(timeout=SOON_S) == "fine", name
            said = model.requests[-1].body["messages"][-1]["content"]
            told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            assert said == told, name

    @pytest.mark.parametrize("agent", ["service", "model"])
    @pytest.mark.parametrize("value", [HALF, "\ude00\ud83d", "x\udfff"])
    def test_no_half_a_character(
        self, odd: Stack, model: ModelServer, agent: str, value: Any
    ) -> None:
        """Neither is it a bad answer of a model that was never asked."""
        model.script(Does(text="fine"))
        for run in (
            odd.client.ask(agent, value),
            odd.client.ask(agent, 1, instructions=str(value)),
            odd.client.ask(agent, 1, answer_schema={"enum": [value]}),
        ):
            with pytest.raises(InvalidPayloadError, match="half of a surrogate pair"):
                run.get(timeout=SOON_S)
            outcome = run.outcome()
            assert outcome is not None
            assert (outcome.attempts, len(model.requests)) == (1, 0)

    def test_a_models_tool(self, odd: Stack, model: ModelServer) -> None:
        model.script(Does(tool=("cuts", {"text": "!"})), Does(text="fine"))
        assert odd.client.ask("model", "?").get(timeout=SOON_S) == "fine"
        assert "cut \ufffd!" in json.dumps(model.requests[-1].body, ensure_ascii=False)

    def test_a_service_that_answers_halves(self, odd: Stack, model: ModelServer) -> None:
        model.script(Does(raw=rb'{"value": "cut \ud83d"}'))
        assert odd.client.ask("service", "?").get(timeout=SOON_S) == HALF

    @pytest.mark.parametrize(
        "answer", ["NaN", "[1e999]", '{"__type__": 1, "__value__": 2}', "[" * 200 + "]" * 200]
    )
    def test_a_service_that_answers_none(self, odd: Stack, model: ModelServer, answer: str) -> None:
        model.script(Does(raw=answer.encode()))
        run = odd.client.ask("service", "?", retry={"max_attempts": 1})
        with pytest.raises(Exception, match="answer"):
            run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error.kind == "bad_answer"


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_at_each_call(self, odd: Stack, name: str) -> None:
        value, depth = REFUSED[name], odd.depth()
        calls = [call for call, _ in VERBS.values()]
        calls += [lambda c, v: c.vote(["yes"], v), lambda c, v: c.ask.s("echo", v)]
        for call in calls:
            with pytest.raises(InvalidPayloadError, match="input"):
                call(odd.client, value)
        with pytest.raises(InvalidPayloadError):
            odd.client.fallback(["echo"], 1, default={"value": value})
        with pytest.raises(InvalidPayloadError):
            odd.client.fallback(["echo"], 1, answer_schema={"a": value})
        assert odd.depth() == depth

    @pytest.mark.parametrize("verb", [*PLAIN, "vote"])
    def test_by_plain_messages(self, odd: Stack, plain: Celery, verb: str) -> None:
        """Whoever sent it hears of it, within the time of any answer."""
        vote = ("agents.vote", lambda v: [v], {"voters": ["yes"]}, None)
        task, args, kwargs, _ = {**PLAIN, "vote": vote}[verb]
        sent = {
            name: plain.send_task(task, args(REFUSED[name]), kwargs, queue="agents")
            for name in WRITTEN
        }
        for name, result in sent.items():
            with pytest.raises(InvalidPayloadError):
                result.get(timeout=SOON_S)
            assert odd.row(result.id) is None, name

    def test_ids_of_plain_messages(self, odd: Stack, plain: Celery) -> None:
        for task_id in ("x" * 156, "a\0b"):
            sent = plain.send_task(
                "agents.ask", [1], {"agent": "echo"}, queue="agents", task_id=task_id
            )
            with pytest.raises(InvalidPayloadError, match="dead letter: id"):
                sent.get(timeout=SOON_S)

    @pytest.mark.parametrize("name", ["a\0", "\ud83d", "", "x" * 181, 7])
    def test_names(self, odd: Stack, plain: Celery, name: Any) -> None:
        client = odd.client
        for call in (
            lambda: client.ask(name, 1),
            lambda: client.vote(["yes", {"agent": "yes", "name": name}], 1),
            lambda: client.fallback([{"agent": name}], 1),
            lambda: client.gather(["yes"], 1, how="best", judge=name),
            lambda: client.map(name, [1]),
            lambda: client.vote(["yes"], 1, escalate={"kind": "supervisor", "agent": name}),
            lambda: client.ask("echo", 1, compensation={"agent": name}),
        ):
            with pytest.raises(InvalidPayloadError):
                call()
        sent = plain.send_task("agents.ask", [1], {"agent": name}, queue="agents")
        with pytest.raises(InvalidPayloadError, match="agent: "):
            sent.get(timeout=SOON_S)

    @pytest.mark.parametrize("task", ["status", "cancel", "results", "requeue", "drop"])
    def test_ids_of_commands(self, odd: Stack, plain: Celery, task: str) -> None:
        for run_id in ("x" * 156, "a\0", 7, ""):
            with pytest.raises(InvalidPayloadError):
                list(getattr(odd.client, task)(run_id) or ())
            args = [run_id, -1] if task == "results" else [run_id]
            sent = plain.send_task(f"agents.{task}", args, queue="agents.control")
            with pytest.raises(InvalidPayloadError):
                sent.get(timeout=SOON_S)


class TestAnswers:
    @pytest.mark.databases("both")
    @pytest.mark.parametrize("agent", ["gives", "gives_kept", "task_gives"])
    def test_of_code(self, odd: Stack, agent: str) -> None:
        names = [n for n in GIVEN if agent != "task_gives" or n not in NO_TASK]
        for name, run in {n: odd.client.ask(agent, n) for n in names}.items():
            told = GIVEN[name][1]
            if told is ...:
                with pytest.raises(AgentFailedError):
                    run.get(timeout=SOON_S)
                assert odd.state(run.id) == "failed", name
            else:
                assert same(run.get(timeout=SOON_S), told), name

    def test_of_many(self, odd: Stack) -> None:
        """One bad answer is one failed input, and not a map that nobody can read."""
        names = [*GIVEN]
        run = odd.client.map("gives", names)
        got = run.get(timeout=SOON_S)
        bad = [name for name in names if GIVEN[name][1] is ...]
        assert (got.succeeded, got.failed) == (len(names) - len(bad), len(bad))
        outcomes = dict(run.results())
        for place, name in enumerate(names):
            told = None if GIVEN[name][1] is ... else GIVEN[name][1]
            assert same(outcomes[place].value, told), name

    def test_of_candidates_and_voters(self, odd: Stack) -> None:
        client = odd.client
        for name in (n for n, (_, told) in GIVEN.items() if told is ...):
            run = client.fallback(["gives", "yes"], name)
            assert run.get(timeout=SOON_S) == "yes", name
            decision = client.vote(["yes", "gives"], name, stop="none").get(timeout=SOON_S)
            assert decision.abstentions == {"failed": 1}, name

    @pytest.mark.parametrize("told", [HALF, "a\0", BIG, {"a\0": [HALF]}])
    def test_errors(self, odd: Stack, told: Any) -> None:
        for run in (
            odd.client.ask("fails", told),
            odd.client.fallback(["fails"], told),
            odd.client.ask("says", told),
        ):
            with pytest.raises(Exception, match=r"no|failed") as caught:
                run.get(timeout=SOON_S)
            str(caught.value).encode()
            assert "\0" not in str(caught.value)
            assert odd.state(run.id) == "failed"
            assert odd.client.runs.status(run.id) is not None

    def test_names_of_calls(self, odd: Stack) -> None:
        for name in ("a\0", "x" * 201, "", HALF, "two\nlines"):
            with pytest.raises(AgentFailedError, match="call's name"):
                odd.client.ask("names_call", name).get(timeout=SOON_S)
        assert odd.client.ask("names_call", "ünïcode").get(timeout=SOON_S) == "done"


class TestTooLarge:
    def test_is_a_failed_step(self, odd: Stack) -> None:
        run = odd.client.ask("big", LIMIT_BYTES)
        with pytest.raises(AnswerTooLargeError, match=r"20,002 bytes.*20,000.*answer_limit_bytes"):
            run.get(timeout=SOON_S)
        assert len(json.dumps(odd.row(run.id).outcome)) < 1_000
        # A traceback's length depends on where the project lies.
        assert odd.redis.strlen(f"celery-task-meta-{run.id}") < LIMIT_BYTES / 2
        assert odd.client.ask("big", LIMIT_BYTES - 2).get(timeout=SOON_S)

    def test_what_it_cost_is_kept(self, odd: Stack) -> None:
        run = odd.client.ask("big_call", 3_000_000)
        with pytest.raises(AnswerTooLargeError):
            run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert (outcome.state, outcome.attempts) == (State.FAILED, 1)
        assert (outcome.usage.calls, outcome.usage.cost_usd) == (1, 0.5)
        (call,) = odd.calls(run.id)
        assert call.answer is None
        assert call.error["kind"] == "answer_too_large"

    def test_of_a_model_is_told_to_it(self, odd: Stack, model: ModelServer) -> None:
        """Of a tool, that is; the model goes on without it."""
        model.script(Does(tool=("floods", {"size": 3_000_000})), Does(text="fine"))
        assert odd.client.ask("model", "?").get(timeout=SOON_S) == "fine"
        assert "3,000,000 bytes, too many" in json.dumps(model.requests[-1].body)
        model.script(Does(text="x" * 30_000))
        run = odd.client.ask("model", "?")
        with pytest.raises(AnswerTooLargeError):
            run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert outcome.usage.input_tokens == 100

    def test_of_a_pattern(self, odd: Stack) -> None:
        """Many that are not too large are, together."""
        run = odd.client.gather(["big", "big", "big"], 9_000, how="concat")
        with pytest.raises(AnswerTooLargeError):
            run.get(timeout=SOON_S)

    def test_details_of_an_error(self, odd: Stack) -> None:
        run = odd.client.ask("says", {"all": "x" * 30_000})
        with pytest.raises(Exception, match="no") as caught:
            run.get(timeout=SOON_S)
        assert "bytes of details" in getattr(caught.value, "details", {})["left_out"]


def test_messages_of_protocol_1(odd: Stack, plain: Celery) -> None:
    """Celery's first protocol, which has no headers: producers may still be told to use it."""
    plain.conf.task_protocol = 1
    asked = plain.send_task("agents.ask", ["hello"], {"agent": "echo"}, queue="agents")
    voted = plain.send_task("agents.vote", ["?"], {"voters": ["yes"]}, queue="agents", countdown=1)
    wrong = plain.send_task("agents.ask", ["hello"], {"agent": 7}, queue="agents")
    assert asked.get(timeout=SOON_S) == "hello"
    assert voted.get(timeout=SOON_S)["option"] == "yes"
    with pytest.raises(InvalidPayloadError, match="agent"):
        wrong.get(timeout=SOON_S)
    status = plain.send_task("agents.status", [asked.id], queue="agents.control")
    assert status.get(timeout=SOON_S)["state"] == "succeeded"
    unknown = plain.send_task("agents.nothing", [], queue="agents")
    with pytest.raises(Exception, match=r"agents\.nothing"):
        unknown.get(timeout=SOON_S)


@pytest.mark.databases("both")
def test_the_worker_goes_on(odd: Stack) -> None:
    (worker, _) = odd.workers
    assert worker.running
    assert odd.client.ask("echo", str(uuid.uuid4())).get(timeout=SOON_S)
    eventually(lambda: odd.depth() == 0 and not odd.unacked())
    assert "Traceback" not in worker.logs()
