"""What a request has in it, and which requests are not made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.lessons import Own
from agents.governance.sizes import Observed
from agents.models import sizing
from agents.models.config import ModelConfig
from agents.models.pieces import pieces_of, surely_within
from agents.models.provider import Exchange, ModelRequest, Reply, Tokens
from agents.models.sizing import Sizing
from agents.tools.calls import ToolCall, ToolResult, ToolSpec
from celery_agents.contracts.conversation import Attachment, ChatMessage, Text, ToolUse
from celery_agents.errors import ContextExceededError

CALL = ToolCall(id="1", name="find", arguments={"q": "parcel"})
IMAGE = Attachment(kind="image", media_type="image/png", data="QUJD" * 1_000)


def request(**fields: Any) -> ModelRequest:
    return ModelRequest.model_validate({"model": "m", "system": None, "user": "Hello.", **fields})


def test_all_that_a_model_reads_is_counted() -> None:
    plain = pieces_of(request())
    assert plain == {"word": 1, "sign": 1, "line": 1, "message": 1}
    more = {
        "system": "Be kind.",
        "history": (ChatMessage(role="user", content="Before."),),
        "tools": (ToolSpec(name="find", description="Finds things.", parameters={"type": "x"}),),
        "answer_schema": {"type": "object"},
        "exchanges": (
            Exchange(
                reply=Reply(text="One moment.", tool_calls=(CALL,)),
                results=(ToolResult(call=CALL, value="Found it."),),
            ),
            Exchange(reply=Reply(text="Nonsense."), complaint="That is none."),
        ),
    }
    for name, value in more.items():
        whole = pieces_of(request(**{name: value}))
        assert whole["word"] > plain["word"], name
    assert pieces_of(request(**more))["message"] == 7  # of four roles, one a result or complaint


def test_calls_of_a_conversation_are_counted_and_attachments_are_not_text() -> None:
    call = ToolUse(id="1", name="find_parcels", arguments={"number": 12})
    said = (
        ChatMessage(role="user", content=(Text(kind="text", text="Look."), IMAGE)),
        ChatMessage(role="assistant", tool_calls=(call,)),
        ChatMessage(role="tool", content="none", call_id="1"),
    )
    found = pieces_of(request(history=said))
    assert found["attachment"] == 1
    assert found["word"] == 1 + 1 + 2 + 1 + 1  # the question, Look, find_parcels, number, none
    assert found["long"] == 2  # six letters more


@given(st.text(max_size=300), st.integers(0, 2_000))
def test_what_is_surely_within_has_a_byte_for_each_token_at_least(text: str, tokens: int) -> None:
    asked = request(user=text.encode(errors="ignore").decode())
    if surely_within(asked, tokens):
        assert len((asked.user or "").encode()) <= tokens


def test_of_images_nothing_is_sure() -> None:
    said = (ChatMessage(role="user", content=(Text(kind="text", text="Look."), IMAGE)),)
    assert not surely_within(request(history=said), 10**9)


def config(**fields: Any) -> ModelConfig:
    price = {"input_usd": 1, "output_usd": 2}
    return ModelConfig.model_validate(
        {"provider": "openai", "model": "m", "price": price, "base_url": "http://h/v1", **fields}
    )


def admitted(lessons: Own, asked: ModelRequest, **fields: Any) -> None:
    asyncio.run(Sizing(config(**fields), lessons).admitted(asked))


def test_a_request_above_its_window_is_refused_with_its_numbers() -> None:
    large = request(user="parcel " * 2_000, max_output_tokens=300)
    with pytest.raises(ContextExceededError, match="takes 1,500 tokens, 300 of them") as refused:
        admitted(Own(), large, context_tokens=1_500)
    assert refused.value.details["tokens"] > 1_200
    assert refused.value.details["context_tokens"] == 1_500
    assert not refused.value.retryable
    admitted(Own(), large, context_tokens=3_000)
    admitted(Own(), large)  # nobody knows its window


def test_what_answers_have_is_kept_of_the_window() -> None:
    lessons = Own()
    asked = request(user="parcel " * 1_000)
    for _ in range(30):
        lessons.add(Observed(pieces_of(asked), 1_005, 900))
    with pytest.raises(ContextExceededError):
        admitted(lessons, asked, context_tokens=2_000)
    admitted(lessons, asked, context_tokens=2_500)


def test_small_requests_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: ModelRequest) -> Any:
        raise AssertionError("its pieces were counted")

    monkeypatch.setattr(sizing, "pieces_of", never)
    admitted(Own(), request(user="x" * 10_000), context_tokens=100_000)
    with pytest.raises(AssertionError):
        admitted(Own(), request(user="x" * 100_000), context_tokens=100_000)


def test_it_learns_where_its_provider_counts() -> None:
    lessons = Own()
    sized = Sizing(config(), lessons)
    sized.learn(request(), None)
    sized.learn(request(), Tokens(12, 3))
    sizes = asyncio.run(lessons.known())
    assert (sizes.calls, sizes.outputs) == (1, (3,))
    found = asyncio.run(sized.estimate("gpt", request()))
    assert (found.learned_from, found.output_tokens) == (1, 3)


def taught(reads: int) -> Own:
    """Lessons of 40 requests of 1,000 tokens, so many of which came from the cache."""
    lessons = Own()
    for _ in range(60):
        lessons.add(Observed({"word": 900}, 1_000, 10, cache_read=reads))
    return lessons


def test_cached_tokens_make_a_request_cheaper_for_whoever_compares() -> None:
    asked = request(user="word " * 900)
    price = {"input_usd": 1, "output_usd": 0, "cached_usd": 0.1}
    plain, cached = (
        asyncio.run(Sizing(config(price=price), taught(reads)).weigh(asked, priced=True)).nano_usd
        for reads in (0, 1_000)
    )
    assert plain is not None
    assert cached is not None
    assert 0.09 * plain < cached < 0.15 * plain


def test_what_a_turn_weighs_says_whether_it_fits() -> None:
    asked = request(user="parcel " * 2_000)
    for window, fits in ((1_500, False), (9_000, True), (None, True)):
        sized = Sizing(config(context_tokens=window), Own())
        found = asyncio.run(sized.weigh(asked, priced=False))
        assert (found.fits, found.context_tokens, found.nano_usd) == (fits, window, None)


def test_of_anthropic_what_is_read_from_its_cache_takes_nothing_of_its_limits() -> None:
    asked = request(user="word " * 900)
    for provider, share in (("openai", 1.0), ("anthropic", 0.2)):
        fields = {"provider": provider, "model": "m", "base_url": "http://h"}
        sized = Sizing(ModelConfig.model_validate(fields), taught(800))
        whole = taught(800).at_hand.likely(pieces_of(asked))
        assert sized.needs(asked).input_tokens == pytest.approx(share * whole, rel=0.03)
