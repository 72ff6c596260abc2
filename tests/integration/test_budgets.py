"""Budgets of ``[budgets]`` and of runs, with real workers: what is spent is never above them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.journal.schema.models import Spend
from celery_agents import Client, RetryPolicy, Run
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.budgets import BudgetState
from celery_agents.errors import AgentsError, BudgetExceededError, PriceUnknownError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, eventually, lines
from tests.support.spenders import PAID_FILE

pytestmark = pytest.mark.databases("sqlite")

ONCE = RetryPolicy(max_attempts=1, base_delay_s=0.1)
#: Each covers an agent of its name that spends, so one worker has them all.
BUDGETS = {
    "company": "usd = 1.0",
    "roomy": "usd = 1.0",
    "windowed": 'per = "tenant"\ncalls = 2\nevery = 3\nover = "wait"',
    "customer": 'per = "tenant"\nusd = 0.003\ncalls = 4',
    "cut": "usd = 1.0",
    "kept": "usd = 0.01",
}


def spending(where: Location, model: ModelServer, *, workers: int) -> Stack:
    """A stack with agents that spend, models without a price, and budgets."""
    config = where.directory / "agents.toml"
    asked = f'kind = "openai"\nmodel = "house-model"\nbase_url = "{model.url}/v1"'
    asked += '\napi_key_env = "FAKE_KEY"\n'
    spends = 'kind = "function"\nfunction = "tests.support.spenders:spends"\neffects = "pure"\n'
    parts = [f"[agents.unpriced]\n{asked}", f"[agents.free]\n{asked}{FREE}\n", TENANTS]
    parts += ['[budgets.nothing]\nusd = 0\ncovers = ["agent:unpriced", "agent:free"]\n']
    for name, policy in BUDGETS.items():
        parts.append(f"[agents.{name}]\n{spends}")
        parts.append(f'[budgets.{name}]\n{policy}\ncovers = ["agent:{name}"]\n')
    config.write_text("\n".join(parts))
    env = {
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": '["tests.support.spenders"]',
        "FAKE_KEY": "sk-fake-0123456789abcdef0123",
        PAID_FILE: str(where.directory / "paid"),
    }
    made = Stack(*where, FAST | env)
    for _ in range(workers):
        made.worker(COROUTINES)
    return made


FREE = "price = { input_usd = 0, output_usd = 0 }"
TENANTS = "[tenants.acme]\nbudgets = { customer = { usd = 1 } }\n"


@pytest.fixture(scope="module")
def _shared(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = spending(location, model, workers=2)
    yield made
    made.close()


@pytest.fixture
def stack(_shared: Stack, model: ModelServer) -> Stack:
    """A stack of two workers that tests share; nothing is paid yet."""
    paid(_shared).unlink(missing_ok=True)
    model.script()
    return _shared


@pytest.fixture
def own(own_location: Location, model: ModelServer) -> Iterator[Stack]:
    """A stack of the test's own, which harms its worker."""
    made = spending(own_location, model, workers=1)
    yield made
    made.close()


def paid(stack: Stack) -> Path:
    """Where each call that was made stands as a line."""
    return stack.directory / "paid"


def ends(runs: list[Run]) -> dict[str, int]:
    """How many ended in which way."""
    found: dict[str, int] = {}
    for run in runs:
        try:
            end = str(run.get(timeout=2 * SOON_S))
        except AgentsError as error:
            end = error.kind
        found[end] = found.get(end, 0) + 1
    return found


def spent(stack: Stack) -> dict[str, tuple[int, int]]:
    """What the journal has booked in each account: nano-dollars and calls."""
    rows = stack.read(lambda c: c.execute(select(Spend.__table__)).all())
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        nano, calls = found.get(row.account, (0, 0))
        found[row.account] = (nano + row.nano_usd, calls + row.calls)
    return found


def test_of_sixty_racers_exactly_eleven_pay(stack: Stack) -> None:
    runs = [stack.client.ask("company", 90_000, retry=ONCE) for _ in range(60)]
    assert ends(runs) == {"paid": 11, "budget_exceeded": 49}
    assert len(lines(paid(stack))) == 11
    assert spent(stack)["company"] == (990_000_000, 11)
    with pytest.raises(BudgetExceededError, match=r"budget company: 0.99 of 1 usd are spent"):
        stack.client.ask("company", 90_000).get(timeout=SOON_S)
    assert stack.client.ask("company", 10_000).get(timeout=SOON_S) == "paid"
    assert stack.client.ask("company", 0).get(timeout=SOON_S) == "paid"  # needs no account
    warned = [e for run in runs for e in stack.events(run.id, "budget_warning")]
    assert len(warned) == 1


def test_what_costs_less_than_it_reserved_leaves_room_for_others(stack: Stack) -> None:
    asked: JsonValue = {"micro_usd": 300_000, "real_micro_usd": 10_000}
    runs = [stack.client.ask("roomy", asked, retry=ONCE) for _ in range(12)]
    assert ends(runs) == {"paid": 12}
    assert spent(stack)["roomy"] == (120_000_000, 12)


def test_a_run_s_budget_holds_for_its_whole_tree(stack: Stack) -> None:
    before = spent(stack)
    run = stack.client.map("spends", [1000] * 8, budget={"usd": 0.005})
    found = run.get(timeout=SOON_S)
    assert len(lines(paid(stack))) == 5
    assert (found.succeeded, found.failed) == (5, 3)
    assert "budget of its run: 0.005 of 0.005 usd are spent" in str(found.failures[0])
    voted = stack.client.vote(["spends"] * 3, 1000, budget={"calls": 2}, quorum=2)
    assert voted.get(timeout=SOON_S).option == "paid"
    assert len(lines(paid(stack))) == 7
    assert spent(stack) == before


def test_without_a_price_nothing_is_asked_and_a_free_model_needs_no_budget(
    stack: Stack, model: ModelServer
) -> None:
    model.script(Does(text="Yes."))
    with pytest.raises(PriceUnknownError, match=r"below \[agents.unpriced\]: price = "):
        stack.client.ask("unpriced", "?").get(timeout=SOON_S)
    assert model.requests == []
    assert stack.client.ask("free", "?").get(timeout=SOON_S) == "Yes."
    assert "nothing" not in spent(stack)


def test_a_spent_budget_is_waited_for_and_its_window_turns(stack: Stack) -> None:
    runs = [stack.client.ask("windowed", 1, tenant="acme", retry=ONCE) for _ in range(5)]
    other = stack.client.ask("windowed", 1, tenant="other", retry=ONCE)
    assert other.get(timeout=SOON_S) == "paid"
    assert ends(runs) == {"paid": 5}
    rows = stack.read(lambda c: c.execute(select(Spend.__table__)).all())
    acme = [row for row in rows if row.account == "windowed:acme"]
    assert len({row.starts_at for row in acme}) >= 3
    assert all(row.calls <= 2 for row in acme)
    assert {stack.row(run.id).attempts for run in runs} == {1}


def test_a_tenant_has_numbers_of_its_own(stack: Stack) -> None:
    for tenant, paid_for in (("acme", 4), ("other", 3)):
        runs = [stack.client.ask("customer", 1000, tenant=tenant, retry=ONCE) for _ in range(6)]
        assert ends(runs) == {"paid": paid_for, "budget_exceeded": 6 - paid_for}
    states = [s for s in stack.client.budgets() if s.name == "customer"]
    found = {s.subject: (s.policy.usd, s.policy.calls) for s in states}
    assert found == {"acme": (1.0, 4), "other": (0.003, 4)}


def test_a_killed_worker_s_call_is_in_doubt_until_it_is_released(own: Stack) -> None:
    (worker,) = own.workers
    asked: JsonValue = {"micro_usd": 600_000, "seconds": 30}
    run = own.client.ask("company", asked, retry=ONCE)
    eventually(lambda: lines(paid(own)))
    state = company(own)
    assert (state.reserved.usd, state.in_doubt.calls) == (0.6, 0)
    worker.kill()
    own.worker(COROUTINES)
    with pytest.raises(AgentsError):
        run.get(timeout=SOON_S)
    state = company(own)
    assert (state.spent.usd, state.reserved.usd, state.in_doubt.usd) == (0.0, 0.0, 0.6)
    with pytest.raises(BudgetExceededError):
        own.client.ask("company", 500_000).get(timeout=SOON_S)
    assert own.client.budgets.release("company").usd == 0.6
    eventually(lambda: _pays(own.client, 500_000))
    state = company(own)
    assert (state.spent.usd, state.in_doubt.usd) == (0.5, 0.0)


def _pays(client: Client, micro_usd: int) -> bool:
    return ends([client.ask("company", micro_usd, retry=ONCE)]) == {"paid": 1}


def company(stack: Stack) -> BudgetState:
    (state,) = [s for s in stack.client.budgets() if s.name == "company"]
    return state


def test_what_is_cut_off_is_settled(stack: Stack) -> None:
    asked: JsonValue = {"micro_usd": 100_000, "seconds": 30}
    runs = [stack.client.ask("cut", asked, timeout_s=4, retry=ONCE) for _ in range(2)]
    eventually(lambda: len(lines(paid(stack))) == 2)
    runs[1].cancel()
    assert ends(runs) == {"timeout": 1, "cancelled": 1}
    eventually(lambda: spent(stack)["cut"] == (200_000_000, 2))
    calls = [call for run in runs for call in stack.calls(run.id)]
    assert [call.reserved_nano_usd for call in calls] == [None, None]


def test_redis_that_is_emptied_has_the_journal_s_sums_again(stack: Stack) -> None:
    assert ends([stack.client.ask("kept", 1000) for _ in range(6)]) == {"paid": 6}
    stack.redis.flushdb()
    began = time.monotonic()
    runs = [stack.client.ask("kept", 1000, retry=ONCE) for _ in range(8)]
    assert ends(runs) == {"paid": 4, "budget_exceeded": 4}
    assert time.monotonic() - began < SOON_S
    assert len(lines(paid(stack))) == 10
