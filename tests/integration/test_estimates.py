"""Estimates: before the first request, after some, in the other worker, and too large ones."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from app.journal.schema.models import Memo
from celery_agents import Client
from celery_agents.errors import (
    AllCandidatesFailedError,
    ContextExceededError,
    InvalidPayloadError,
)
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Location, Stack, celery, eventually
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

TEXT = "Where is my parcel? I paid for it a week ago. " * 20


def config(url: str) -> str:
    return textwrap.dedent(f"""
        [agents.gpt]
        kind = "openai"
        model = "gpt-5-mini"
        base_url = "{url}/v1"
        price = {{ input_usd = 1.0, output_usd = 2.0 }}
        max_output_tokens = 500
        context_tokens = 10_000

        [agents.large]
        kind = "anthropic"
        model = "nobody-knows-it"
        base_url = "{url}"
        context_tokens = 1_000_000
    """)


def begun(where: Location, model: ModelServer) -> Stack:
    model.script()
    path = where.directory / "agents.toml"
    path.write_text(config(model.url))
    made = Stack(*where, {**FAST, "AGENTS_CONFIG": str(path)})
    made.worker()
    return made


@pytest.fixture
def own(own_location: Location, model: ModelServer) -> Iterator[Stack]:
    """A stack whose worker has learned nothing yet."""
    made = begun(own_location, model)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = begun(location, model)
    yield made
    made.close()


def memo(stack: Stack, agent: str) -> dict[str, Any]:
    query = select(Memo.data).where(Memo.key.startswith(f"sizes:{agent}:"))
    return stack.read(lambda c: c.execute(query).scalar()) or {}


def test_an_estimate_learns_from_what_is_asked_and_outlives_its_worker(
    own: Stack, model: ModelServer
) -> None:
    client = own.client
    first = client.estimate("gpt", TEXT)
    assert (first.agent, first.model, first.learned_from) == ("gpt", "openai/gpt-5-mini", 0)
    assert 0 < first.likely_input_tokens < first.input_tokens
    assert first.output_tokens == 500  # max_output_tokens, since no answer was seen
    assert first.nano_usd == first.input_tokens * 1_000 + first.output_tokens * 2_000
    assert (first.context_tokens, first.fits, first.price_unknown) == (10_000, True, None)
    assert not model.requests  # nobody was asked

    counted = first.likely_input_tokens * 2  # by a vocabulary with shorter words
    model.script(Does(text="Soon.", input_tokens=counted, output_tokens=7))
    for run in [client.ask("gpt", TEXT) for _ in range(20)]:
        assert run.get(timeout=SOON_S) == "Soon."
    eventually(lambda: memo(own, "gpt").get("calls", 0) >= 16)
    learned = client.estimate("gpt", TEXT)
    assert learned.learned_from == 20  # what is not written yet is known here
    assert learned.likely_input_tokens == pytest.approx(counted, rel=0.05)
    assert counted <= learned.input_tokens < 1.5 * counted
    assert learned.output_tokens == 7
    run = client.ask("gpt", TEXT)
    run.get(timeout=SOON_S)
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.usage.cost_usd == pytest.approx((counted + 2 * 7) / 1e6)

    own.workers[0].kill()
    own.worker()
    again = client.estimate("gpt", TEXT, timeout=SOON_S)
    assert again.learned_from >= 16
    assert again.likely_input_tokens == pytest.approx(counted, rel=0.05)


def test_a_request_that_is_too_large_is_not_made_and_a_fallback_goes_on(
    common: Stack, model: ModelServer
) -> None:
    client = common.client
    model.script()
    text = TEXT * 60  # some 13,000 tokens
    assert not client.estimate("gpt", text).fits
    run = client.ask("gpt", text)
    with pytest.raises(ContextExceededError, match="takes 10,000 tokens, 500 of them"):
        run.get(timeout=SOON_S)
    assert not model.requests
    assert len(common.events(run.id, "retry")) == 0
    model.script(Does(text="Read."))
    chain = client.fallback(["gpt", "large"], text)
    assert chain.get(timeout=SOON_S) == "Read."
    assert [seen.path for seen in model.requests] == ["/v1/messages"]
    only = {"agent": "large", "on": ["rate_limited"]}
    with pytest.raises(AllCandidatesFailedError) as failed:
        client.fallback(["gpt", only], text).get(timeout=SOON_S)
    assert failed.value.details["errors"]["gpt"]["kind"] == "context_exceeded"


def test_a_price_that_is_not_known_says_which_line_to_write(common: Stack) -> None:
    found = common.client.estimate("large", "Hello.")
    assert found.nano_usd is found.usd is None
    assert found.price_unknown is not None
    assert "below [agents.large]: price = {" in found.price_unknown


def test_who_is_no_model_is_refused(common: Stack) -> None:
    with pytest.raises(InvalidPayloadError, match="noop is no model"):
        common.client.estimate("noop", "Hello.")


def test_the_command(client: Client, stack: Stack) -> None:
    told = celery("-A", APP, "agents", "estimate", "gpt", TEXT, env=stack.env)
    assert told.stdout.startswith("gpt (openai/gpt-5-mini), learned from "), told.stderr
    assert " tokens, likely " in told.stdout
    found = celery("-A", APP, "agents", "estimate", "streamed", TEXT, "--json", env=stack.env)
    assert json.loads(found.stdout) == client.estimate("streamed", TEXT).model_dump(mode="json")


def test_options_are_checked_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidPayloadError, match="choices"):
        client.estimate("gpt", "Hello.", choices=[""])
