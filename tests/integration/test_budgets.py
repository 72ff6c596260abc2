"""Budgets of ``[budgets]`` and of runs, with real workers: what is spent is never above them."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from app.journal.schema.models import Call, Spend
from celery_agents import Client, RetryPolicy, Run
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AgentsError, BudgetExceededError, PriceUnknownError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, SOON_S, Stack, eventually, lines
from tests.support.spenders import PAID_FILE

pytestmark = pytest.mark.databases("sqlite")

ONCE = RetryPolicy(max_attempts=1, base_delay_s=0.1)
Start = Callable[..., Stack]


@pytest.fixture
def paid(tmp_path: Path) -> Path:
    """Where each call that was made stands as a line."""
    return tmp_path / "paid"


@pytest.fixture
def start(fast: Stack, model: ModelServer, paid: Path, tmp_path: Path) -> Start:
    """Starts workers with an agent that spends, a model without a price, and these budgets."""

    def begin(budgets: str = "", *, workers: int = 1) -> Stack:
        config = tmp_path / "agents.toml"
        model.script()
        config.write_text(
            textwrap.dedent(f"""
            [agents.unpriced]
            kind = "openai"
            model = "house-model"
            base_url = "{model.url}/v1"
            api_key_env = "FAKE_KEY"

            [agents.free]
            kind = "openai"
            model = "house-model"
            base_url = "{model.url}/v1"
            api_key_env = "FAKE_KEY"
            price = {{ input_usd = 0, output_usd = 0 }}
            """)
            + textwrap.dedent(budgets)
        )
        fast.env |= {
            "AGENTS_CONFIG": str(config),
            "AGENTS_MODULES": '["tests.support.spenders"]',
            "FAKE_KEY": "sk-fake-0123456789abcdef0123",
            PAID_FILE: str(paid),
        }
        for _ in range(workers):
            fast.worker(COROUTINES)
        return fast

    return begin


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


def test_of_sixty_racers_exactly_eleven_pay(start: Start, paid: Path) -> None:
    stack = start("[budgets.company]\nusd = 1.0\n", workers=2)
    runs = [stack.client.ask("spends", 90_000, retry=ONCE) for _ in range(60)]
    assert ends(runs) == {"paid": 11, "budget_exceeded": 49}
    assert len(lines(paid)) == 11
    assert spent(stack) == {"company": (990_000_000, 11)}
    with pytest.raises(BudgetExceededError, match=r"budget company: 0.99 of 1 usd are spent"):
        stack.client.ask("spends", 90_000).get(timeout=SOON_S)
    assert stack.client.ask("spends", 10_000).get(timeout=SOON_S) == "paid"
    assert stack.client.ask("spends", 0).get(timeout=SOON_S) == "paid"  # needs no account
    warned = [e for run in runs for e in stack.events(run.id, "budget_warning")]
    assert len(warned) == 1


def test_what_costs_less_than_it_reserved_leaves_room_for_others(start: Start, paid: Path) -> None:
    stack = start("[budgets.company]\nusd = 1.0\n")
    asked: JsonValue = {"micro_usd": 300_000, "real_micro_usd": 10_000}
    runs = [stack.client.ask("spends", asked, retry=ONCE) for _ in range(12)]
    assert ends(runs) == {"paid": 12}
    assert spent(stack) == {"company": (120_000_000, 12)}


def test_a_run_s_budget_holds_for_its_whole_tree(start: Start, paid: Path) -> None:
    stack = start()
    run = stack.client.map("spends", [1000] * 8, budget={"usd": 0.005})
    found = run.get(timeout=SOON_S)
    assert len(lines(paid)) == 5
    assert (found.succeeded, found.failed) == (5, 3)
    assert "budget of its run: 0.005 of 0.005 usd are spent" in str(found.failures[0])
    voted = stack.client.vote(["spends"] * 3, 1000, budget={"calls": 2}, quorum=2)
    assert voted.get(timeout=SOON_S).option == "paid"
    assert len(lines(paid)) == 7
    assert spent(stack) == {}


def test_without_a_price_nothing_is_asked_and_a_free_model_needs_no_budget(
    start: Start, model: ModelServer
) -> None:
    stack = start("[budgets.company]\nusd = 0\n")
    model.script(Does(text="Yes."))
    with pytest.raises(PriceUnknownError, match=r"below \[agents.unpriced\]: price = "):
        stack.client.ask("unpriced", "?").get(timeout=SOON_S)
    assert model.requests == []
    assert stack.client.ask("free", "?").get(timeout=SOON_S) == "Yes."
    assert spent(stack) == {}


def test_a_spent_budget_is_waited_for_and_its_window_turns(start: Start, paid: Path) -> None:
    stack = start("""
        [budgets.customer]
        per = "tenant"
        calls = 2
        every = 3
        over = "wait"
    """)
    runs = [stack.client.ask("spends", 1, tenant="acme", retry=ONCE) for _ in range(5)]
    other = stack.client.ask("spends", 1, tenant="other", retry=ONCE)
    assert other.get(timeout=SOON_S) == "paid"
    assert ends(runs) == {"paid": 5}
    rows = stack.read(lambda c: c.execute(select(Spend.__table__)).all())
    acme = [row for row in rows if row.account == "customer:acme"]
    assert len({row.starts_at for row in acme}) >= 3
    assert all(row.calls <= 2 for row in acme)
    assert {stack.row(run.id).attempts for run in runs} == {1}


def test_a_tenant_has_numbers_of_its_own(start: Start, paid: Path) -> None:
    stack = start("""
        [budgets.customer]
        per = "tenant"
        usd = 0.003
        calls = 4

        [tenants.acme]
        budgets = { customer = { usd = 1 } }
    """)
    for tenant, paid_for in (("acme", 4), ("other", 3)):
        runs = [stack.client.ask("spends", 1000, tenant=tenant, retry=ONCE) for _ in range(6)]
        assert ends(runs) == {"paid": paid_for, "budget_exceeded": 6 - paid_for}
    found = {s.subject: (s.policy.usd, s.policy.calls) for s in stack.client.budgets()}
    assert found == {"acme": (1.0, 4), "other": (0.003, 4)}


def test_a_killed_worker_s_call_is_in_doubt_until_it_is_released(start: Start, paid: Path) -> None:
    stack = start("[budgets.company]\nusd = 1.0\n")
    (worker,) = stack.workers
    asked: JsonValue = {"micro_usd": 600_000, "seconds": 30}
    run = stack.client.ask("spends", asked, retry=ONCE)
    eventually(lambda: lines(paid))
    (state,) = stack.client.budgets()
    assert (state.reserved.usd, state.in_doubt.calls) == (0.6, 0)
    worker.kill()
    stack.worker(COROUTINES)
    with pytest.raises(AgentsError):
        run.get(timeout=SOON_S)
    (state,) = stack.client.budgets()
    assert (state.spent.usd, state.reserved.usd, state.in_doubt.usd) == (0.0, 0.0, 0.6)
    with pytest.raises(BudgetExceededError):
        stack.client.ask("spends", 500_000).get(timeout=SOON_S)
    assert stack.client.budgets.release("company").usd == 0.6
    eventually(lambda: _pays(stack.client, 500_000))
    (state,) = stack.client.budgets()
    assert (state.spent.usd, state.in_doubt.usd) == (0.5, 0.0)


def _pays(client: Client, micro_usd: int) -> bool:
    return ends([client.ask("spends", micro_usd, retry=ONCE)]) == {"paid": 1}


def test_what_is_cut_off_is_settled(start: Start, paid: Path) -> None:
    stack = start("[budgets.company]\nusd = 1.0\n")
    asked: JsonValue = {"micro_usd": 100_000, "seconds": 30}
    runs = [stack.client.ask("spends", asked, timeout_s=4, retry=ONCE) for _ in range(2)]
    eventually(lambda: len(lines(paid)) == 2)
    runs[1].cancel()
    assert ends(runs) == {"timeout": 1, "cancelled": 1}
    eventually(lambda: spent(stack) == {"company": (200_000_000, 2)})
    calls = stack.read(lambda c: c.execute(select(Call.__table__)).all())
    assert [call.reserved_nano_usd for call in calls] == [None, None]


def test_redis_that_is_emptied_has_the_journal_s_sums_again(start: Start, paid: Path) -> None:
    stack = start("[budgets.company]\nusd = 0.01\n")
    assert ends([stack.client.ask("spends", 1000) for _ in range(6)]) == {"paid": 6}
    stack.redis.flushdb()
    began = time.monotonic()
    runs = [stack.client.ask("spends", 1000, retry=ONCE) for _ in range(8)]
    assert ends(runs) == {"paid": 4, "budget_exceeded": 4}
    assert time.monotonic() - began < SOON_S
    assert len(lines(paid)) == 10
