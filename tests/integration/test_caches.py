"""Cached answers with real workers: one asks, others wait without a slot, nobody pays twice."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.journal.schema.models import Worker
from celery_agents.contracts.caching import CacheState
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, celery, eventually
from tests.support.drawn import costly
from tests.support.redis_server import RedisServer
from tests.unit.agents.caching.test_likeness import POLARITY

pytestmark = pytest.mark.databases("sqlite")

#: Many times the slots of two workers.
MANY = costly(150, part=2)


@pytest.fixture
def provider(model: ModelServer) -> Iterator[ModelServer]:
    yield model
    model.script()


def _config(provider: ModelServer) -> str:
    entry = f"""
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "{provider.url}/v1"
        api_key_env = "FAKE_KEY"
        price = {{ input_usd = 1.0, output_usd = 2.0 }}
        temperature = 0
    """
    return textwrap.dedent(f"""
        [agents.gpt]{entry}
        cache = 3600

        [agents.any]{entry}
        cache = {{ scope = "all" }}

        [agents.tooled]{entry}
        effects = "pure"
        tools = ["tests.support.cached:slow_length"]

        [agents.similar]
        kind = "function"
        function = "tests.support.cached:answered"
        cache.semantic = {{ embed = "embedded", proving = 0, audit = 1e-9 }}

        [agents.everybodys]
        kind = "function"
        function = "tests.support.cached:answered"
        cache = {{ scope = "all", semantic = {{ embed = "embedded", proving = 0, audit = 1e-9 }} }}

        [agents.fickle]
        kind = "function"
        function = "tests.support.cached:fickle"
        cache.semantic = {{ embed = "embedded", proving = 6 }}

        [agents.held]{entry}
        cache = 3600

        [limits.held]
        covers = ["agent:held"]
        concurrent = 1

        [limits.gpt]
        covers = ["agent:gpt"]
        concurrent = 50
    """)


def _begin(stack: Stack, model: ModelServer, workers: int, **env: str) -> Stack:
    """Start workers with a model and functions whose answers are cached."""
    config = stack.directory / "agents.toml"
    config.write_text(_config(model))
    stack.env |= {
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": '["tests.support.agents", "tests.support.cached"]',
        "FAKE_KEY": "sk-fake-0123456789abcdef0123",
    } | env
    started = [stack.worker(COROUTINES, ready=False) for _ in range(workers)]
    for worker in started:
        worker.wait_ready()
    return stack


@pytest.fixture(scope="module")
def _cached(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = Stack(*location, FAST)
    made.redis.flushdb()
    yield _begin(made, model, 1, AGENTS_CACHE_LOCAL_MAX="0")  # which would serve on
    made.close()


@pytest.fixture
def cached(_cached: Stack, provider: ModelServer) -> Stack:
    """A stack for all tests here that harm nothing, with nothing in its cache."""
    for key in _cached.redis.scan_iter("agents:cache:*"):
        _cached.redis.delete(key)
    return _cached


def test_the_same_question_is_paid_once(cached: Stack, provider: ModelServer) -> None:
    ask = cached.client.ask
    provider.script(Does(text="one"), Does(text="two"), Does(text="three"), Does(text="four"))
    assert ask("gpt", "How?").get(timeout=SOON_S) == "one"
    again = ask("gpt", "How?")
    assert again.get(timeout=SOON_S) == "one"
    outcome = again.outcome()
    assert outcome is not None
    assert (outcome.usage.calls, outcome.usage.cost_usd) == (0, 0.0)
    assert outcome.usage.saved_usd == pytest.approx(0.00014)
    (call,) = cached.calls(again.id)
    assert call.name == "cache:model:openai/gpt-5-mini"
    assert call.cost_usd == 0
    # Anew, and kept; not at all; of somebody else.
    assert ask("gpt", "How?", cache="refresh").get(timeout=SOON_S) == "two"
    assert ask("gpt", "How?").get(timeout=SOON_S) == "two"
    assert ask("gpt", "How?", cache="off").get(timeout=SOON_S) == "three"
    assert ask("gpt", "How?", tenant="other").get(timeout=SOON_S) == "four"
    assert ask("any", "How?").get(timeout=SOON_S) == "four"
    assert ask("any", "How?", tenant="other").get(timeout=SOON_S) == "four"
    assert len(provider.requests) == 5
    _is_told(cached)


def _is_told(stack: Stack) -> None:
    """How it stands is shown, and what is cleared is asked again."""
    shown = celery("agents", "cache", "list", "--json", env=stack.env)
    states = {state["name"]: state for state in json.loads(shown.stdout)}
    gpt = states["gpt"]
    assert (gpt["entries"], gpt["shared_hits"], gpt["misses"]) == (2, 2, 2)
    assert gpt["saved_usd"] == pytest.approx(2 * 0.00014)
    assert stack.client.cache.clear("gpt") == 2
    assert {s.name for s in stack.client.cache.list() if s.entries} == {"any"}
    stack.client.ask("gpt", "How?").get(timeout=SOON_S)
    assert _state(stack, "gpt").misses == 3


def test_what_is_refused_before_it_is_asked_is_no_miss(cached: Stack) -> None:
    """A step that a limit sends away looks again each time that it comes."""
    client = cached.client
    client.limits.pause("held")
    run = client.ask("held", "How?")
    eventually(lambda: [s.waiting for s in client.limits.list() if s.name == "held"] == [1])
    assert [s.misses for s in client.cache.list() if s.name == "held" and s.misses] == []
    client.limits.resume("held")
    run.get(timeout=SOON_S)
    assert _state(cached, "held").misses == 1


@pytest.fixture(scope="module")
def two(
    shared_broker: RedisServer,
    _migrated_sqlite: Path,
    model: ModelServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A stack of two workers, of which the last test here kills one."""
    directory = tmp_path_factory.mktemp("two")
    shutil.copyfile(_migrated_sqlite, directory / "journal.db")
    url = f"sqlite:///{directory / 'journal.db'}"
    made = Stack(shared_broker.fresh_url(), url, directory, FAST)
    yield _begin(made, model, 2)
    made.close()


def test_one_asks_for_all_and_the_others_hold_no_slot(two: Stack, tmp_path: Path) -> None:
    stack = two
    path = str(tmp_path / "computed")
    seen = tmp_path / "seen"
    runs = stack.client.ask.many("computed", [{"path": path, "after": str(seen)}] * MANY)
    eventually(lambda: Path(path).exists())
    assert stack.client.ask("noop", 1, priority=0).get(timeout=SOON_S) == 1
    seen.touch()
    assert {run.get(timeout=2 * SOON_S) for run in runs} == {len(path)}
    assert Path(path).read_text().splitlines() == ["computed"]
    names = [call.name for run in runs for call in stack.calls(run.id)]
    assert sorted(set(names)) == ["cache:function", "function"]
    assert names.count("function") == 1
    assert not stack.redis.keys("agents:cache:wait:*")


def test_a_dead_leader_is_followed_by_one(two: Stack, tmp_path: Path) -> None:
    stack = two
    path, seen = tmp_path / "computed", tmp_path / "seen"
    order: Any = {"path": str(path), "after": str(seen)}
    first = stack.client.ask("computed", order)
    eventually(path.exists)
    leader = str(stack.row(first.id).worker_id)
    runs = [stack.client.ask("computed", order) for _ in range(20)]
    eventually(lambda: stack.redis.keys("agents:cache:wait:*"))
    dies = next(w for w in stack.workers if w.name in _worker_name(stack, leader))
    dies.kill()
    seen.touch()
    for run in [first, *runs]:
        assert run.get(timeout=2 * SOON_S) == len(str(path))
    assert len(path.read_text().splitlines()) == 2


def _worker_name(stack: Stack, worker_id: str) -> str:
    query = select(Worker.name).filter_by(id=worker_id)
    return str(stack.read(lambda c: c.execute(query).scalar_one()))


def test_samples_of_a_vote_share_nothing(cached: Stack, provider: ModelServer) -> None:
    votes = [Does(json={"option": "yes", "confidence": 1, "reason": ""})]
    provider.script(*votes)
    voters = [{"agent": "gpt", "samples": 5}]
    decision = cached.client.vote(voters, "?", choices=["yes", "no"], stop="none").get(SOON_S)
    assert decision.option == "yes"
    assert len(provider.requests) == 5
    # A voter of one ballot is served from the cache, as any other question is.
    for _ in range(2):
        cached.client.vote(["gpt", "any"], "?!", choices=["yes", "no"]).get(SOON_S)
    assert len(provider.requests) == 7


def test_what_is_no_whole_answer_is_not_kept(cached: Stack, provider: ModelServer) -> None:
    ask = cached.client.ask
    provider.script(Does(text="half of", stop="length"))
    for _ in range(2):
        assert ask("gpt", "Tell all.").get(timeout=SOON_S) == "half of"
    assert len(provider.requests) == 2
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    provider.script(Does(json={"n": "three"}), Does(json={"n": 3}))
    assert ask("gpt", "How many?", answer_schema=schema).get(timeout=SOON_S) == {"n": 3}
    assert len(provider.requests) == 2  # it was told, and asked again
    provider.script(Does(json={"n": 4}))
    assert ask("gpt", "How many?", answer_schema=schema).get(timeout=SOON_S) == {"n": 4}


def test_what_is_cached_is_served_though_its_provider_is_closed(
    cached: Stack, provider: ModelServer
) -> None:
    stack = cached
    provider.script(Does(text="kept"))
    assert stack.client.ask("gpt", "Known?").get(timeout=SOON_S) == "kept"
    stack.client.limits.pause("gpt")
    waits = stack.client.ask("gpt", "Unknown?")
    assert stack.client.ask("gpt", "Known?").get(timeout=SOON_S) == "kept"
    eventually(lambda: [s.waiting for s in stack.client.limits.list() if s.name == "gpt"] == [1])
    assert len(provider.requests) == 1
    stack.client.limits.resume("gpt")
    assert waits.get(timeout=SOON_S) == "kept"


def test_a_pure_tools_result_is_served_to_other_runs(
    cached: Stack, provider: ModelServer, tmp_path: Path
) -> None:
    path = tmp_path / "counted"
    for _ in range(2):
        provider.script(Does(tool=("slow_length", {"path": str(path)})), Does(text="done"))
        assert cached.client.ask("tooled", "Count.").get(timeout=SOON_S) == "done"
        told = provider.requests[1].body["messages"][-1]
        assert str(len(str(path))) in json.dumps(told)
    assert path.read_text().splitlines() == ["counted"]


def test_without_its_redis_nothing_is_lost(
    fast: Stack, own_broker: RedisServer, provider: ModelServer
) -> None:
    stack = _begin(fast, provider, 1, AGENTS_CACHE_URL=own_broker.database_url(1))
    provider.script(Does(text="said"))
    ask = stack.client.ask
    for _ in range(2):
        assert ask("gpt", "Kept?").get(timeout=SOON_S) == "said"
    assert len(provider.requests) == 1
    assert not stack.redis.keys("agents:cache:*")
    own_broker.wipe()
    time.sleep(1.1)  # for so long a worker's memory serves it
    assert ask("gpt", "Kept?").get(timeout=SOON_S) == "said"
    assert len(provider.requests) == 2
    own_broker.kill()
    runs = [ask("gpt", "Away?") for _ in range(3)]
    assert [run.get(timeout=SOON_S) for run in runs] == ["said"] * 3
    assert len(provider.requests) == 5
    own_broker.start()


def test_a_list_is_asked_beforehand(cached: Stack, provider: ModelServer, tmp_path: Path) -> None:
    stack = cached
    provider.script(Does(text="warm"))
    file = tmp_path / "questions.jsonl"
    questions = [{"agent": "gpt", "input": f"question {n}"} for n in range(3)]
    file.write_text("\n".join(map(json.dumps, [*questions, questions[0]])) + "\n")
    for known in (0, 4):
        shown = celery("agents", "cache", "warm", str(file), "--json", env=stack.env)
        told = json.loads(shown.stdout)
        assert (told["asked"], told["failed"]) == (4, 0), shown.stderr
        assert told["known"] >= known
    assert len(provider.requests) == 3
    assert stack.client.ask("gpt", "question 2").get(timeout=SOON_S) == "warm"
    more = [{"agent": "gpt", "input": f"other {n}"} for n in range(60)]
    spent = stack.client.cache.warm(more, max_cost=0.0001)
    assert (spent.asked, spent.left) == (50, 10)


def _state(stack: Stack, name: str) -> CacheState:
    return next(s for s in stack.client.cache.list() if s.name == name)


def test_a_similar_question_has_the_same_answer(cached: Stack) -> None:
    ask = cached.client.ask
    first = ask("similar", "How do I reset my password?").get(timeout=SOON_S)
    run = ask("similar", "How can I reset the password, please?")
    assert run.get(timeout=SOON_S) == first
    assert [call.name for call in cached.calls(run.id)] == ["cache:function"]
    state = _state(cached, "similar")
    assert (state.similar_hits, state.semantic, state.compared) == (1, "on", 0)
    # Of another tenant, with other numbers, of the opposite, or where that is not wanted.
    for text, options in {
        "Reset the password": {"tenant": "other"},
        "Reset the password 2": {},
        "Do not reset the password": {},
        "reset password": {"cache": "off"},
        "Reset password!": {"similarity": 1.0, "instructions": "Briefly."},
    }.items():
        told: Any = options
        assert ask("similar", text, **told).get(timeout=SOON_S) == f"answer to {text}"
    assert _state(cached, "similar").similar_hits == 1
    assert ask("everybodys", "Where is it sold?", tenant="a").get(timeout=SOON_S)
    other = ask("everybodys", "where is it sold", tenant="b").get(timeout=SOON_S)
    assert other == "answer to Where is it sold?"


def test_twenty_opposites_are_never_served(cached: Stack) -> None:
    ask = cached.client.ask
    for texts in zip(*POLARITY, strict=True):
        runs = ask.many("similar", texts)
        values = cached.client.runs.collect(runs, timeout=SOON_S)
        assert values == [f"answer to {text}" for text in texts]
    assert _state(cached, "similar").similar_hits == 0


def test_a_layer_that_answers_wrongly_ends_by_itself(cached: Stack) -> None:
    ask = cached.client.ask
    words = [
        "reset password",
        "Reset the password",
        "How can I reset my password",
        "password reset",
    ]
    runs, values = [], []
    for text in (f"{text} {mark}" for text in words for mark in ("!", "?", ".", ",")):
        runs.append(ask("fickle", text))  # one by one: each is compared with what it is like
        values.append(runs[-1].get(timeout=SOON_S))
    assert len(set(values)) == len(values)  # none was served: they are all compared at first
    eventually(lambda: _state(cached, "fickle").semantic == "off")
    state = _state(cached, "fickle")
    assert 6 <= state.wrong == state.compared
    told = [e for run in runs for e in cached.events(run.id, "cache_off")]
    assert told
    assert told[0]["data"]["agent"] == "fickle"
    cached.client.cache.clear("fickle")
    before = ask("fickle", "new password").get(timeout=SOON_S)
    assert ask("fickle", "new password!").get(timeout=SOON_S) != before
    assert _state(cached, "fickle").compared == state.compared  # nobody looks any more
