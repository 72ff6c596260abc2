"""Routers and several keys with real workers: the next one answers, and nobody pays for it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents import RetryPolicy, Run, names
from celery_agents.errors import BudgetExceededError, ProviderRefusedError, ProviderUnavailableError
from tests.fakes.deployments import Deployments, deployments
from tests.fakes.model_server import Does
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, celery, eventually
from tests.support.redis_server import RedisServer
from tests.support.service import APP

pytestmark = pytest.mark.databases("postgres")

ONCE = RetryPolicy(max_attempts=1, base_delay_s=0.1)
SECRETS = {"KEY_A": "sk-first-0123456789abcdef", "KEY_B": "sk-second-0123456789abcdef"}
A, B = SECRETS.values()
#: Leases that a busy machine keeps.
USUAL = {"AGENTS_LEASE_S": "7", "AGENTS_HEARTBEAT_INTERVAL_S": "1.5", "AGENTS_WAKE_GRACE_S": "10"}
DOWN = Does(status=500)
CHARGE, WEIGH = Does(tool=("charge", {"amount": 3})), Does(tool=("weigh", {"text": "parcel"}))


ROUTERS = """
    [agents.ordered]
    kind = "router"
    among = ["one", "two"]
    by = "order"

    [agents.turns]
    kind = "router"
    among = ["one", "two"]
    by = "turns"

    [agents.busy]
    kind = "router"
    among = ["one", "two"]
    by = "load"

    [agents.cheap]
    kind = "router"
    among = ["gpt", "two"]
    by = "cost"

    [agents.keyed]
    kind = "router"
    among = ["gpt", "two"]
    by = "order"

    [agents.thrifty]
    kind = "router"
    among = ["dear", "two"]
    by = "order"

    [budgets.dear]
    covers = ["agent:dear"]
    usd = 0

    [limits.key]
    covers = ["agent:gpt"]
    per = "key"
    concurrent = 3
"""


@pytest.fixture(scope="module")
def _server() -> Iterator[Deployments]:
    with deployments() as made:
        yield made


@pytest.fixture(scope="module")
def _shared(
    shared_broker: RedisServer,
    _migrated_sqlite: Path,
    _server: Deployments,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Two workers of this module alone; nothing here harms them."""
    directory = tmp_path_factory.mktemp("routing")
    config = written(directory, _server, ROUTERS)
    (directory / "team").touch()
    files = {"TEAM": str(directory / "team"), "AGENTS_CONFIG": str(config)}
    env = {**FAST, **USUAL, **SECRETS, **files}
    database = f"sqlite:///{directory / 'journal.db'}"
    made = Stack(shared_broker.fresh_url(), database, directory, env)
    made.redis.flushdb()
    for _ in range(2):
        made.worker(COROUTINES)
    yield made
    made.close()


@pytest.fixture
def server(_server: Deployments) -> Deployments:
    """The server, whose keys all answer again."""
    _server.forget()
    return _server


@pytest.fixture
def stack(_shared: Stack, server: Deployments) -> Stack:
    """The workers, for whom no breaker and no key is closed."""
    for prefix in (names.BREAKERS, names.LIMIT_KEYS):
        for key in _shared.redis.scan_iter(f"{prefix}*"):
            _shared.redis.delete(key)
    return _shared


def written(directory: Path, server: Deployments, more: str) -> Path:
    config = directory / "agents.toml"
    model = f"""
        kind = "openai"
        base_url = "{server.url}/v1"
        tools = ["{{tool}}"]
        effects = "pure"
        price = {{{{ input_usd = 1.0, output_usd = 1.0 }}}}
    """
    entries = f"""
        [agents.gpt]
        model = "many"
        keys = ["KEY_A", "KEY_B"]
        {model.format(tool="tests.support.agents:charge")}
        [agents.one]
        model = "one"
        api_key_env = "KEY_A"
        {model.format(tool="tests.support.team:weigh")}
        [agents.dear]
        model = "dear"
        api_key_env = "KEY_A"
        {model.format(tool="tests.support.team:weigh")}
        [agents.two]
        model = "two"
        api_key_env = "KEY_B"
        {model.format(tool="tests.support.team:weigh")}
    """
    config.write_text(textwrap.dedent(entries) + textwrap.dedent(more))
    return config


def router(by: str, *among: str) -> str:
    return f"""
        [agents.any]
        kind = "router"
        among = {list(among)}
        by = "{by}"
    """


def ended(runs: list[Run[Any]], stack: Stack) -> list[Any]:
    """Their outcomes; all of them answered at their first attempt."""
    assert [run.get(timeout=2 * SOON_S) for run in runs] == ["ok"] * len(runs)
    assert {stack.row(run.id).attempts for run in runs} == {1}
    return [run.outcome() for run in runs]


def test_no_limit_of_a_key_is_exceeded_by_any_worker(stack: Stack, server: Deployments) -> None:
    server.key(A).takes_s = server.key(B).takes_s = 0.05
    runs = [stack.client.ask("gpt", number, retry=ONCE) for number in range(40)]
    outcomes = ended(runs, stack)
    assert {one.deployment for one in outcomes} == {"gpt#KEY_A", "gpt#KEY_B"}
    assert {one.agent for one in outcomes} == {"gpt"}
    assert server.key(A).most <= 3
    assert server.key(B).most <= 3
    assert server.key(A).requests + server.key(B).requests == 40
    assert min(server.key(A).requests, server.key(B).requests) >= 10
    assert sum(stack.row(run.id).token for run in runs) <= 2.1 * len(runs)  # claims


@pytest.mark.parametrize("failing", [DOWN, Does(status=429, headers={"Retry-After": "30"})])
def test_one_that_is_down_costs_no_error(stack: Stack, server: Deployments, failing: Does) -> None:
    server.key(A).does = (failing,)
    # Fewer than the 20 failures after which nobody asks the provider, which is that of both.
    outcomes = ended([stack.client.ask("ordered", n, retry=ONCE) for n in range(15)], stack)
    assert {(one.agent, one.deployment) for one in outcomes} == {("two", "two")}
    assert server.models["two"] == 15
    before = server.models["one"]
    assert 1 <= before <= 15  # until its breaker opens, or its key is closed
    late = stack.client.ask("ordered", "late", retry=ONCE)
    ended([late], stack)
    assert server.models["one"] == before
    assert stack.events(late.id, "failover") == []


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_account_is_left_out_by_all_workers(
    stack: Stack, server: Deployments, status: int
) -> None:
    server.key(A).does = (Does(status=status),)
    for number in range(6):
        (outcome,) = ended([stack.client.ask("ordered", number, retry=ONCE)], stack)
        assert outcome.deployment == "two"
    assert server.models["one"] == 1
    with pytest.raises(ProviderRefusedError):  # who asks for it by name is told at once
        stack.client.ask("one", 0, retry=ONCE).get(timeout=SOON_S)
    server.key(A).does = (Does(text="ok"),)
    stack.client.limits.resume("agent:one")
    (outcome,) = ended([stack.client.ask("ordered", 7, retry=ONCE)], stack)
    assert outcome.deployment == "one"


def test_one_whose_budget_is_spent_leaves_it_to_the_next(stack: Stack, server: Deployments) -> None:
    run = stack.client.ask("thrifty", 1, retry=ONCE)
    (outcome,) = ended([run], stack)
    assert outcome.deployment == "two"
    assert dict(server.models) == {"two": 1}
    (event,) = stack.events(run.id, "failover")
    assert event["data"] == {"from": "dear", "to": "two", "why": "budget_exceeded"}
    with pytest.raises(BudgetExceededError):
        stack.client.ask("dear", 1, retry=ONCE).get(timeout=SOON_S)


def test_where_all_are_closed_it_waits_for_the_first_that_opens(
    stack: Stack, server: Deployments
) -> None:
    server.key(A).does = (Does(status=429, headers={"Retry-After": "40"}),)
    server.key(B).does = (Does(status=429, headers={"Retry-After": "20"}), Does(text="ok"))
    run = stack.client.ask("turns", 0, retry=ONCE)

    def waits() -> str:
        tree = run.status()
        told = str(tree["steps"][0].get("waits_for", "")) if tree else ""
        return "" if told.startswith("queue") else told  # it is not taken yet

    assert "#KEY_B" in eventually(waits)  # where the wait is shorter
    stack.client.limits.resume(account(server, "KEY_B"))
    (outcome,) = ended([run], stack)
    assert outcome.deployment == "two"


def account(server: Deployments, key: str) -> str:
    return f"provider:openai@127.0.0.1:{server.port}#{key}"


def test_a_conversation_goes_on_with_another_key(stack: Stack, server: Deployments) -> None:
    server.key(A).does = (CHARGE, DOWN)
    run = stack.client.ask("keyed", "Charge 3.", retry=ONCE)
    (outcome,) = ended([run], stack)
    assert (server.key(A).requests, server.key(B).requests) == (2, 1)
    assert names_of(stack, run) == ["model:openai/many", "tool:charge", *["model:openai/many"] * 2]
    assert (outcome.agent, outcome.deployment) == ("gpt", "gpt#KEY_B")
    assert outcome.usage.calls == 2
    (event,) = stack.events(run.id, "failover")
    assert event["data"] == {"from": "gpt#KEY_A", "to": "gpt#KEY_B", "why": "unavailable"}


def test_another_model_begins_anew_and_both_are_paid(stack: Stack, server: Deployments) -> None:
    server.key(A).does = (WEIGH, DOWN)
    server.key(B).does = (WEIGH, Does(text="ok"))
    run = stack.client.ask("ordered", "Weigh it.", retry=ONCE)
    (outcome,) = ended([run], stack)
    assert dict(server.models) == {"one": 2, "two": 2}
    assert names_of(stack, run).count("tool:weigh") == 1  # the same call of the same tool
    assert (outcome.deployment, outcome.usage.calls) == ("two", 3)


def test_what_has_had_effects_is_handed_to_no_other_model(
    stack: Stack, server: Deployments
) -> None:
    server.key(A).does, server.key(B).does = (CHARGE, DOWN), (DOWN,)
    run = stack.client.ask("keyed", "Charge 3.", retry=ONCE)
    with pytest.raises(ProviderUnavailableError):
        run.get(timeout=SOON_S)
    assert dict(server.models) == {"many": 3}
    assert names_of(stack, run).count("tool:charge") == 1


def names_of(stack: Stack, run: Run[Any]) -> list[str]:
    return [call.name for call in stack.calls(run.id)]


def test_what_was_paid_before_a_kill_is_not_paid_again(
    own_location: Location, server: Deployments, tmp_path: Path
) -> None:
    stack = Stack(*own_location, FAST)
    try:
        config = written(tmp_path, server, router("order", "one", "two"))
        (tmp_path / "team").touch()
        team = {"TEAM": str(tmp_path / "team")}
        stack.env |= SECRETS | team | {"AGENTS_CONFIG": str(config)}
        worker = stack.worker(COROUTINES)
        server.key(A).does = (WEIGH, Does(hang=True), Does(text="ok"))
        run = stack.client.ask("any", "Weigh it.")
        eventually(lambda: server.models["one"] == 2)
        worker.kill()
        written(tmp_path, server, router("order", "two", "one"))  # it would choose another now
        stack.worker(COROUTINES)
        assert run.get(timeout=2 * SOON_S) == "ok"
        assert dict(server.models) == {"one": 3}  # one of them broken off by the kill
        assert names_of(stack, run).count("tool:weigh") == 1
        outcome = run.outcome()
        assert outcome is not None
        assert outcome.deployment == "one"
    finally:
        stack.close()


def test_a_session_stays_with_one_and_leaves_it_only_when_that_is_closed(
    stack: Stack, server: Deployments
) -> None:
    def answers(session: str) -> str | None:
        run = stack.client.ask("busy", "And?", session=session, retry=ONCE)
        (outcome,) = ended([run], stack)
        deployment: str | None = outcome.deployment
        return deployment

    first = {f"s{n}": answers(f"s{n}") for n in range(8)}
    assert set(first.values()) == {"one", "two"}
    assert {s: answers(s) for s in first} == first
    stack.client.limits.pause(account(server, "KEY_A"), 60)
    assert {answers(s) for s in first} == {"two"}


def test_people_see_routers(stack: Stack, server: Deployments) -> None:
    told = celery("-A", APP, "agents", "list", "--json", env=stack.env)
    listed = {one["name"]: one for one in json.loads(told.stdout)}
    assert listed["cheap"]["kind"] == "router"
    assert listed["cheap"]["description"] == "one of gpt, two, by cost"
    found = stack.client.estimate("cheap", "Write a letter.")
    assert found.agent in {"gpt", "two"}
    assert found.nano_usd is not None


def test_no_secret_is_told(stack: Stack, server: Deployments) -> None:
    server.key(A).does = (Does(status=401, text=f"{A} is no key"),)
    run = stack.client.ask("keyed", 0, retry=ONCE)
    ended([run], stack)
    keys = " ".join(map(str, stack.redis.scan_iter()))
    told = str(stack.events(run.id)) + str(run.status()) + str(stack.calls(run.id))
    log = "".join(p.read_text() for p in stack.directory.glob("*.log"))
    for secret in (A, B):
        assert secret not in keys + told + log
