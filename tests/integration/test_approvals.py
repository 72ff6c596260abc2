"""Tools that people approve: real workers, the three providers' protocols, kills in the middle."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents import RetryPolicy
from celery_agents.errors import DeadlineExceededError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, PREFORK, SOON_S, Location, Stack, eventually, lines
from tests.support.drawn import in_turn

pytestmark = pytest.mark.databases("one")

PROVIDERS = {"openai": "/v1", "anthropic": "", "google": ""}
TWO_AND_ONE = Does(
    tools=(
        ("refund", {"order": 1, "cents": 500}),
        ("look_up", {"order": 1}),
        ("refund", {"order": 2, "cents": 700}),
    )
)
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=20)


def banking(where: Location, model: ModelServer) -> Stack:
    """A stack whose agents may pay money back, when a person lets them, and no worker yet."""
    config = where.directory / "agents.toml"
    config.write_text(
        "\n".join(
            textwrap.dedent(f"""
                [agents.{name}]
                kind = "{name}"
                model = "m"
                base_url = "{model.url}{path}"
                tools = ["tests.support.bank:refund", "tests.support.bank:look_up"]
            """)
            for name, path in PROVIDERS.items()
        )
    )
    env = {"AGENTS_CONFIG": str(config), "BANK": str(where.directory / "bank")}
    return Stack(*where, FAST | env)


@pytest.fixture(scope="module")
def _common(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = banking(location, model)
    made.worker()
    yield made
    made.close()


@pytest.fixture
def bank(database_url: str, redis_url: str, model: ModelServer, tmp_path: Path) -> Iterator[Stack]:
    """One of the test's own, which harms its workers; none has begun."""
    made = banking(Location(redis_url, database_url, tmp_path), model)
    yield made
    made.close()


def waiting(stack: Stack, run: Any, count: int) -> list[Any]:
    eventually(lambda: len(run.waiting(timeout=SOON_S)) == count, f"{count} wishes")
    found: list[Any] = run.waiting(timeout=SOON_S)
    return found


@pytest.mark.parametrize("agent", list(PROVIDERS))
def test_people_decide_on_each_call_of_a_reply(
    common: Stack, model: ModelServer, agent: str
) -> None:
    book = common.directory / "bank"
    book.unlink(missing_ok=True)
    model.script(TWO_AND_ONE, Does(text="One is paid back."))
    run = common.client.ask(agent, "Pay back 1 and 2.")
    first, second = waiting(common, run, 2)
    assert (first.tool, first.arguments) == ("refund", {"order": 1, "cents": 500})
    assert common.client.waiting(timeout=SOON_S) == [first, second]
    assert lines(book) == []
    common.client.runs.approve(run.id, {"arguments": {"order": 1, "cents": 400}}, key=first.key)
    common.client.runs.approve(run.id, "not this one", key=second.key)
    assert run.get(timeout=SOON_S) == "One is paid back."
    (paid,) = [line.split() for line in lines(book) if line.startswith("done")]
    assert paid[1:3] == ["1", "400"]
    told = str(model.requests[-1].body)
    assert "not this one" in told
    assert "sent" in told  # what was looked up beside
    assert "called_with" in told
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.attempts == 1  # to wait for people is none


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("dies", in_turn(["in", "before", "after"], 0, part=2))
def test_an_effect_happens_once_wherever_its_worker_dies(
    bank: Stack, model: ModelServer, tmp_path: Path, dies: str
) -> None:
    """And where nobody knows, the model is told so."""
    model.script(TWO_AND_ONE, Does(text="Done."))
    (tmp_path / "bank.dies").write_text(dies)
    bank.worker()
    bank.worker()  # to take over
    run = bank.client.ask("openai", "Pay back 1 and 2.", retry=QUICK)
    for wish in waiting(bank, run, 2):
        bank.client.runs.approve(run.id, True, key=wish.key)
    assert run.get(timeout=2 * SOON_S) == "Done."
    done = [line.split()[1] for line in lines(tmp_path / "bank") if line.startswith("done")]
    begun = [line.split()[1] for line in lines(tmp_path / "bank") if line.startswith("begun")]
    told = str(model.requests[-1].body)
    assert len(set(done)) == len(done)
    assert "2" in done
    uncertain = "nobody knows whether it was done" in told
    if uncertain:  # under which key, for whoever looks it up
        key = next(
            line.split()[3] for line in lines(tmp_path / "bank") if line.startswith("begun 1")
        )
        assert f"as {key}" in told
    assert uncertain is (dies in {"in", "after"})
    assert begun.count("1") == 1
    assert ("1" in done) is (dies != "in")


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("dies", in_turn(["nowhere", "in", "before", "after"], 0, part=2))
def test_so_it_is_where_each_step_has_a_process(
    bank: Stack, model: ModelServer, tmp_path: Path, dies: str
) -> None:
    """A child of the pool dies in its call, and its worker goes on."""
    bank.worker(PREFORK)
    model.script(TWO_AND_ONE, Does(text="Done."))
    (tmp_path / "bank.dies").write_text(dies)
    run = bank.client.ask("openai", "Pay back 1 and 2.", retry=QUICK)
    first, second = waiting(bank, run, 2)
    bank.client.runs.approve(run.id, True, key=first.key)
    bank.client.runs.approve(run.id, "not this one", key=second.key)
    assert run.get(timeout=2 * SOON_S) == "Done."
    told = [line.split()[:2] for line in lines(tmp_path / "bank")]
    assert told.count(["begun", "1"]) == 1
    assert told.count(["done", "1"]) == (dies != "in")
    assert not [word for word, order in told if order == "2"]
    said = str(model.requests[-1].body)
    assert "not this one" in said
    assert ("nobody knows whether it was done" in said) is (dies in {"in", "after"})


def test_a_worker_that_thaws_amid_an_effect_begins_no_other(
    bank: Stack, model: ModelServer, tmp_path: Path
) -> None:
    """Its lease is over: whoever took its step over has told the model that nobody knows."""
    model.script(TWO_AND_ONE, Does(text="Done."))
    book, holds = tmp_path / "bank", tmp_path / "bank.holds"
    holds.touch()
    frozen = bank.worker()
    run = bank.client.ask("openai", "Pay back 1 and 2.", retry=QUICK)
    for wish in waiting(bank, run, 2):
        bank.client.runs.approve(run.id, True, key=wish.key)
    eventually(lambda: any(line.startswith("begun 1") for line in lines(book)))
    bank.freeze(frozen)
    holds.unlink()
    bank.worker()
    assert run.get(timeout=2 * SOON_S) == "Done."
    told, asked = str(model.requests[-1].body), len(model.requests)
    frozen.resume()
    eventually(lambda: any(line.startswith("done 1") for line in lines(book)))
    eventually(lambda: all(call.finished_at for call in bank.calls(run.id)))
    words = [line.split()[:2] for line in lines(book)]
    assert sorted(words) == [["begun", "1"], ["begun", "2"], ["done", "1"], ["done", "2"]]
    assert told.count("nobody knows whether it was done") == 1
    assert told.count("paid back") == 1  # the other one, which this worker has begun
    assert bank.state(run.id) == "succeeded"
    assert len(model.requests) == asked  # the one that thawed asks no model


def test_a_deadline_holds_while_a_person_is_waited_for(common: Stack, model: ModelServer) -> None:
    model.script(TWO_AND_ONE)
    run = common.client.ask("openai", "Pay back 1 and 2.", deadline_s=8)
    waiting(common, run, 2)
    with pytest.raises(DeadlineExceededError):
        run.get(timeout=SOON_S)
    assert common.client.waiting(timeout=SOON_S) == []
