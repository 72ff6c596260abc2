"""The agent loop over a provider that is a list of replies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agents.base import Answer, Turn
from agents.kinds.model import ModelBackend
from agents.models.config import ModelConfig
from agents.models.provider import Completion, ModelRequest, OnText, Reply, Tokens
from agents.plan import Expand
from agents.tools.base import tool
from agents.tools.calls import ToolCall
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    BadAnswerError,
    ConfigurationError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.support.toolsets import Shelf, spec

added: list[tuple[int, int]] = []
TURN = Turn(input="2 + 2?")


@tool(effects="idempotent")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    added.append((a, b))
    if a < 0:
        raise RateLimitedError("not now", {"retry_after_s": 3})
    return a + b


@tool(effects="pure", name="add")
def add_again(a: int) -> int:
    return a


class ListedProvider:
    """Gives its replies, or raises its errors, in order."""

    schema_with_tools = True

    def __init__(self, replies: Sequence[Reply | Exception]) -> None:
        self.replies = list(replies)
        self.requests: list[ModelRequest] = []
        self.keys: list[str] = []
        self.closed = False

    def takes(self, schema: dict[str, Any]) -> bool:
        return "untaken" not in schema

    async def complete(
        self, request: ModelRequest, *, idempotency_key: str, on_text: OnText
    ) -> Completion:
        self.requests.append(request)
        self.keys.append(idempotency_key)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        for word in reply.text.split():
            await on_text(f"{word} ")
        return Completion(reply, Tokens(input=1_000_000, output=500_000, cache_read=400_000))

    async def aclose(self) -> None:
        self.closed = True


def says(text: str, **fields: Any) -> Reply:
    return Reply(text=text, **fields)


def calls(name: str, arguments: Any) -> Reply:
    return Reply(text="", tool_calls=(ToolCall(id="1", name=name, arguments=arguments),))


def backend(*replies: Reply | Exception, **fields: Any) -> tuple[ModelBackend, ListedProvider]:
    provider = ListedProvider(replies)
    given = {"provider": "openai", "model": "m", "tools": [f"{__name__}:add"]} | fields
    return ModelBackend(ModelConfig.model_validate(given), provider), provider


def run(agent: ModelBackend, step: Any, turn: Turn = TURN) -> Answer:
    found = asyncio.run(agent.answer(turn, step))
    assert isinstance(found, Answer)
    return found


class TestHandingOver:
    """The turn of the agent that goes on, and what becomes of its end."""

    TURN = Turn(
        input="Help!",
        messages=(
            ChatMessage(role="user", content="Hello."),
            ChatMessage(role="assistant", content="Hi."),
        ),
        instructions="Be kind.",
        answer_schema={"type": "object"},
    )

    def agent(self) -> ModelBackend:
        both = Reply(
            text="One moment.",
            tool_calls=(
                ToolCall(id="1", name="add", arguments={"a": 1, "b": 2}),
                ToolCall(id="2", name="no such tool", arguments={}),
                ToolCall(id="3", name="transfer_to_billing", arguments={}),
            ),
        )
        return backend(both, handoffs=["billing"])[0]

    def test_it_gets_all_that_was_said(self, step: Any) -> None:
        found = asyncio.run(self.agent().answer(self.TURN, step))
        assert isinstance(found, Expand)
        (member,) = found.members
        ask = Ask.from_message([member.input], member.options, known=True)
        assert (ask.agent, ask.input, ask.instructions) == ("billing", None, "Be kind.")
        assert ask.answer_schema == {"type": "object"}
        told = [(m.role, m.text) for m in ask.messages]
        assert told == [
            ("user", "Hello."),
            ("assistant", "Hi."),
            ("user", "Help!"),
            ("assistant", "One moment."),
            ("tool", "3"),
            ("tool", "There is no tool 'no such tool'."),
            ("tool", "billing goes on."),
        ]
        assert [call.name for call in ask.messages[3].tool_calls] == [
            "add",
            "no_such_tool",
            "transfer_to_billing",
        ]

    @pytest.mark.parametrize(
        ("ended", "expected"),
        [
            (
                Outcome(state=State.SUCCEEDED, value="paid", usage=Usage(calls=9)),
                (State.SUCCEEDED, "billing", "paid", None),
            ),
            (  # which handed it over itself
                Outcome(state=State.SUCCEEDED, value="paid", agent="tech"),
                (State.SUCCEEDED, "tech", "paid", None),
            ),
            (
                Outcome(state=State.DEAD, error=ErrorInfo(kind="dead", message="gone")),
                (State.FAILED, "billing", None, "dead"),
            ),
            (Outcome(state=State.SKIPPED), (State.FAILED, "billing", None, "cancelled")),
        ],
    )
    def test_its_end_is_that_of_the_step(self, step: Any, ended: Outcome, expected: Any) -> None:
        agent = self.agent()
        found = asyncio.run(agent.answer(self.TURN, step))
        assert isinstance(found, Expand)
        step.ended[found.members[0].key] = ended
        outcome = asyncio.run(agent.answer(self.TURN, step.again()))
        assert isinstance(outcome, Outcome)
        kind = outcome.error and outcome.error.kind
        assert (outcome.state, outcome.agent, outcome.value, kind) == expected
        assert outcome.usage.calls == 1  # its own: the step adds that of its members


def test_usage_adds_up_with_the_configured_price(step: Any) -> None:
    price = {"input_usd": 3.0, "output_usd": 10.0, "cached_usd": 0.5}
    agent, _ = backend(calls("add", {"a": 2, "b": 2}), says("4"), price=price)
    answer = run(agent, step)
    assert answer.value == "4"
    assert answer.usage.calls == 2
    assert answer.usage.input_tokens == 2_000_000
    assert answer.usage.cached_tokens == 800_000
    # Twice: 0.6 M fresh at 3, 0.4 M cached at 0.5, 0.5 M out at 10.
    assert answer.usage.cost_usd == pytest.approx(2 * (1.8 + 0.2 + 5.0))


def test_a_retried_step_goes_on_after_its_last_finished_call(step: Any) -> None:
    added.clear()
    first = calls("add", {"a": 2, "b": 2})
    agent, provider = backend(first, ProviderUnavailableError("down"), says("4"))
    with pytest.raises(ProviderUnavailableError):
        run(agent, step)
    answer = run(agent, step.again())
    assert answer.value == "4"
    assert added == [(2, 2)]
    assert step.calls == ["model:openai/m", "tool:add", "model:openai/m", "model:openai/m"]
    assert len(provider.requests) == 3
    assert provider.requests[1] == provider.requests[2]
    assert provider.keys == ["step-1-1", "step-1-3", "step-1-3"]
    assert answer.usage.calls == 2  # what the step cost, the earlier attempt's part included


def test_an_answer_tells_the_tools_that_were_called_before_it(step: Any) -> None:
    first = calls("add", {"a": 2, "b": 2})
    agent, _ = backend(first, says("4"))
    asked, told = run(agent, step).turns
    assert (asked.tool_calls[0].name, asked.tool_calls[0].arguments) == ("add", {"a": 2, "b": 2})
    assert (told.call_id, told.text) == (asked.tool_calls[0].id, "4")


def test_a_bad_answer_is_not_what_a_retry_gets_again(step: Any) -> None:
    ballot = Turn(input="?", choices=("a", "b"))
    good = '{"option": "a", "confidence": 0.5, "reason": ""}'
    agent, _ = backend(says("nonsense"), says(good), answer_retries=0)
    with pytest.raises(BadAnswerError) as caught:
        run(agent, step, ballot)
    assert caught.value.details["usage"]["calls"] == 1
    value: Any = run(agent, step.again(), ballot).value
    assert value["option"] == "a"


def test_a_personality_stands_behind_the_instructions(step: Any) -> None:
    agent, provider = backend(says("x"), instructions="Sort.", traits={"terse": 1}, style="plain")
    run(agent, step, Turn(input="?", instructions="Now."))
    assert provider.requests[0].system == (
        "Sort.\n\nBe very terse: short and to the point.\n"
        "Write plainly: short sentences and common words.\n\nNow."
    )


class TestReviewers:
    """Agents with criteria."""

    REVIEW = '{"security": {"findings": ["eval"], "score": 0.5}}'

    def test_answer_for_each_criterion_with_a_report(self, step: Any) -> None:
        agent, provider = backend(says(self.REVIEW), criteria=["security"])
        value: Any = run(agent, step).value
        assert (value["score"], value["weakest"]) == (0.5, "security")
        assert value["findings"] == [{"criterion": "security", "finding": "eval"}]
        assert provider.requests[0].answer_schema is not None

    @pytest.mark.parametrize(
        ("turn", "said"),
        [
            (Turn(input="?", answer_schema={"type": "number"}), "7"),
            (Turn(input="?", choices=("a",)), '{"option": "a", "reason": "", "confidence": 1}'),
        ],
    )
    def test_give_another_form_to_whoever_asks_for_it(
        self, step: Any, turn: Turn, said: str
    ) -> None:
        agent, _ = backend(says(said), criteria=["security"])
        assert "criteria" not in str(run(agent, step, turn).value)


class TestAnswersThatAreNoObject:
    """They stand in one, as providers want it."""

    TURN = Turn(input="?", answer_schema={"anyOf": [{"type": "integer"}, {"type": "null"}]})

    @pytest.mark.parametrize("structured", ["schema", "prompt"])
    def test_is_asked_for_in_an_object_and_taken_out_of_it(
        self, step: Any, structured: str
    ) -> None:
        agent, provider = backend(says('{"answer": 7}'), structured=structured)
        assert run(agent, step, self.TURN).value == 7
        (request,) = provider.requests
        assert (request.answer_schema is None) == (structured == "prompt")
        assert '"answer"' in str(request.system or request.answer_schema).replace("'", '"')

    def test_a_form_that_its_provider_does_not_take_is_asked_for_in_words(self, step: Any) -> None:
        agent, provider = backend(says('{"a": 7}'))
        schema: dict[str, Any] = {"type": "object", "untaken": True}
        assert run(agent, step, Turn(input="?", answer_schema=schema)).value == {"a": 7}
        assert provider.requests[0].answer_schema is None
        assert "untaken" in str(provider.requests[0].system)

    def test_the_model_is_told_of_what_stands_in_it(self, step: Any) -> None:
        agent, provider = backend(says('{"answer": "x"}'), says('{"answer": null}'))
        assert run(agent, step, self.TURN).value is None
        assert "integer: it is not of type integer" in str(provider.requests[1].exchanges[0])


class TestMalformedAnswers:
    """They go back to the model, as often as its entry says."""

    TURN = Turn(input="?", answer_schema={"type": "object", "required": ["total"]})
    BAD, GOOD = says('{"sum": 1}'), says('{"total": 1}')

    def test_the_model_is_told_what_is_wrong_and_asked_again(self, step: Any) -> None:
        agent, provider = backend(self.BAD, says("no JSON"), self.GOOD, answer_retries=2)
        answer = run(agent, step, self.TURN)
        assert answer.value == {"total": 1}
        assert answer.usage.calls == 3
        first, second = provider.requests[-1].exchanges
        assert "total" in str(first.complaint)
        assert "did not answer with JSON" in str(second.complaint)
        assert first.reply == self.BAD

    def test_so_often_and_then_its_step_fails(self, step: Any) -> None:
        agent, provider = backend(self.BAD, self.BAD, self.GOOD)
        with pytest.raises(BadAnswerError, match="malformed") as caught:
            run(agent, step, self.TURN)
        assert len(provider.requests) == 2
        assert type(caught.value) is BadAnswerError
        # What was told before is kept; the last answer is asked for anew.
        assert run(agent, step.again(), self.TURN).value == {"total": 1}
        assert len(provider.requests) == 3

    def test_they_take_turns_of_the_answer(self, step: Any) -> None:
        agent, provider = backend(self.BAD, self.GOOD, answer_retries=5, max_turns=1)
        with pytest.raises(BadAnswerError):
            run(agent, step, self.TURN)
        assert len(provider.requests) == 1

    @pytest.mark.parametrize("bad", [says("  "), says('{"to', stop="length")])
    def test_an_answer_that_would_be_the_same_again_is_not_asked_for(
        self, step: Any, bad: Reply
    ) -> None:
        agent, provider = backend(bad, self.GOOD, answer_retries=5)
        with pytest.raises(BadAnswerError):
            run(agent, step, self.TURN)
        assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("option", "chosen"),
    [
        ("Yes", "Yes"),
        ("yes", "Yes"),
        (" YES. ", "Yes"),
        ("**yes**", "Yes"),
        ("NO", "NO"),
        ("no ", None),
        ("maybe", None),
    ],
)
def test_options_are_normalised_when_only_one_is_meant(
    option: str, chosen: str | None, step: Any
) -> None:
    turn = Turn(input="?", choices=("Yes", "no", "NO"))
    said = says(f'{{"option": "{option}", "confidence": 1, "reason": "r"}}')
    agent, _ = backend(said, answer_retries=0)
    if chosen is None:
        with pytest.raises(BadAnswerError):
            run(agent, step, turn)
    else:
        value: Any = run(agent, step, turn).value
        assert value["option"] == chosen


def test_rounds_are_bounded(step: Any) -> None:
    agent, provider = backend(*[calls("add", {"a": 1, "b": 1})] * 9, max_turns=3)
    with pytest.raises(AgentFailedError, match="max_turns=3"):
        run(agent, step)
    assert len(provider.requests) == 3


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (calls("fly", {}), "There is no tool 'fly'."),
        (calls("add", {"a": "x", "b": 1}), "a: Input should be a valid integer"),
        (calls("add", {"a": 1}), "b: Missing required argument"),
        (calls("add", "{broken"), "must be a JSON object"),
    ],
)
def test_wrong_tool_calls_are_told_to_the_model(call: Reply, told: str, step: Any) -> None:
    agent, provider = backend(call, says("sorry"))
    assert run(agent, step).value == "sorry"
    (exchange,) = provider.requests[1].exchanges
    (result,) = exchange.results
    assert result.failed
    assert told in str(result.value)


def test_a_retryable_error_of_a_tool_passes(step: Any) -> None:
    agent, _ = backend(calls("add", {"a": -1, "b": 1}))
    with pytest.raises(RateLimitedError) as caught:
        run(agent, step)
    assert caught.value.retry_after_s == 3


@pytest.mark.parametrize(
    "error", [BadAnswerError("x"), RateLimitedError("x"), AgentFailedError("x")]
)
def test_errors_of_the_provider_pass(error: AgentsError, step: Any) -> None:
    agent, _ = backend(error)
    with pytest.raises(type(error)):
        run(agent, step)


def test_a_cut_answer_says_so_where_it_cannot_be_read(step: Any) -> None:
    agent, _ = backend(says("", stop="length"))
    with pytest.raises(BadAnswerError, match="cut at the limit"):
        run(agent, step)


@pytest.mark.parametrize("arguments", [{"a": 2, "b": 2}, {}, '{"a": 2, "b'])
@pytest.mark.parametrize("text", ["", "Let me see."])
def test_no_tool_of_a_cut_reply_is_run(arguments: Any, text: str, step: Any) -> None:
    added.clear()
    many = calls("add", {"a": 1, "b": 1}).tool_calls + calls("add", arguments).tool_calls
    agent, provider = backend(Reply(text=text, tool_calls=many, stop="length"), says("4"))
    with pytest.raises(BadAnswerError, match="cut at the limit") as caught:
        run(agent, step)
    assert (added, step.calls) == ([], ["model:openai/m"])
    assert caught.value.details["usage"]["calls"] == 1  # it was paid for
    assert run(agent, step.again()).value == "4"  # it is asked anew
    assert len(provider.requests) == 2


def test_a_cut_text_is_returned_and_watchers_are_told(step: Any) -> None:
    agent, _ = backend(says("Once upon a", stop="length"))
    assert run(agent, step).value == "Once upon a"
    assert {"truncated": True} in step.told


def test_progress_hides_secrets(step: Any) -> None:
    agent, _ = backend(says("password=hunter2"))
    run(agent, step)
    assert "hunter2" not in str(step.told)


@pytest.mark.parametrize("cut", range(170, 215, 5))
def test_progress_hides_a_secret_that_it_would_cut(step: Any, cut: int) -> None:
    key = "sk-live-" + "0123456789abcdef0123456789"
    agent, _ = backend(says(key + "." * cut))
    run(agent, step)
    assert step.told
    assert "0123456789" not in str(step.told)


def test_another_request_is_not_answered_from_the_journal(step: Any) -> None:
    agent, _ = backend(says("one"))
    assert run(agent, step).value == "one"
    other, _ = backend(says("two"), instructions="Changed since.")
    assert run(other, step.again()).value == "two"


@pytest.mark.parametrize(
    "tools",
    [
        ["nowhere:add"],
        [f"{__name__}:nothing"],
        ["add"],
        [f"{__name__}:{n}" for n in ("add", "add_again")],
    ],
)
def test_tools_that_cannot_be_loaded(tools: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        backend(tools=tools)


def test_another_policy_of_a_tool_is_no_other_request(step: Any) -> None:
    """A model is not told of it: a worker with a newer configuration pays for nothing again."""

    async def look() -> str:
        return "x"

    first = tool(effects="pure")(look)
    newer = tool(effects="pure", timeout_s=9, approve="never", max_result_bytes=999)(look)
    provider = ListedProvider([calls("look", {}), RateLimitedError("later"), says("done")])
    config = ModelConfig(provider="openai", model="m")
    with pytest.raises(RateLimitedError):
        run(ModelBackend(config, provider, tools=[first]), step)
    assert run(ModelBackend(config, provider, tools=[newer]), step.again()).value == "done"
    assert [len(r.exchanges) for r in provider.requests] == [0, 1, 1]


def test_a_conversation_with_a_toolset_goes_on_with_the_list_it_began_with(step: Any) -> None:
    shelf = Shelf([spec("fly")], [spec("walk")], effects="idempotent")
    config = ModelConfig(provider="openai", model="m", tools=(f"{__name__}:add",))
    replies: list[Reply | Exception] = [
        calls("fly", {"to": "Oslo"}),
        ProviderUnavailableError("down"),
        says("there"),
    ]
    provider = ListedProvider(replies)
    agent = ModelBackend(config, provider, tools=[shelf])
    with pytest.raises(ProviderUnavailableError):
        run(agent, step)
    assert run(agent, step.again()).value == "there"
    assert step.calls == ["tools", "model:openai/m", "tool:fly", "model:openai/m", "model:openai/m"]
    assert [[t.name for t in r.tools] for r in provider.requests] == [["add", "fly"]] * 3
    assert (shelf.listed, len(shelf.called)) == (1, 1)


@pytest.mark.parametrize("shelf", [Shelf([]), Shelf([spec("fly")])])
def test_a_schema_is_asked_for_in_words_only_beside_tools(shelf: Shelf, step: Any) -> None:
    provider = ListedProvider([says("7")])
    provider.schema_with_tools = False
    agent = ModelBackend(ModelConfig(provider="google", model="m"), provider, tools=[shelf])
    run(agent, step, Turn(input="?", answer_schema={"type": "integer"}))
    (request,) = provider.requests
    assert (request.answer_schema is None) == bool(request.tools)
    assert bool(request.system) == bool(request.tools)


def test_closing_closes_the_toolsets() -> None:
    shelf = Shelf([], answer=ValueError("x"))
    provider = ListedProvider([])
    config = ModelConfig(provider="openai", model="m")
    asyncio.run(ModelBackend(config, provider, tools=[shelf]).aclose())
    assert (shelf.closed, provider.closed) == (1, True)


def test_closing_closes_the_provider() -> None:
    agent, provider = backend()
    asyncio.run(agent.aclose())
    assert provider.closed


class TestStreamed:
    """A step that somebody watches."""

    def test_its_model_streams_and_says_what_comes(self, step: Any) -> None:
        step.streamed = True
        agent, provider = backend(says("It is 4."))
        run(agent, step)
        assert provider.requests[0].stream
        assert "".join(text for kind, text in step.events if kind == "text") == "It is 4. "

    @pytest.mark.parametrize("before", [True, False])
    def test_a_flag_that_is_another_one_pays_nothing_again(self, step: Any, before: bool) -> None:
        agent, provider = backend(
            calls("add", {"a": 2, "b": 2}), ProviderUnavailableError("away"), says("4")
        )
        step.streamed = before
        with pytest.raises(ProviderUnavailableError):
            run(agent, step)
        step.again().streamed = not before
        assert run(agent, step).value == "4"
        assert [request.stream for request in provider.requests] == [before, before, not before]

    def test_what_was_journaled_is_said_again(self, step: Any) -> None:
        step.streamed = True
        asks = says("I add.", tool_calls=calls("add", {"a": 2, "b": 2}).tool_calls)
        agent, _ = backend(asks, ProviderUnavailableError("away"), says("4"))
        with pytest.raises(ProviderUnavailableError):
            run(agent, step)
        step.events.clear()
        run(agent, step.again())
        kinds = [kind for kind, _ in step.events]
        assert kinds == ["text", "tool", "tool_result", "text"]
        assert step.events[0] == ("text", "I add.")

    def test_its_tools_are_told(self, step: Any) -> None:
        step.streamed = True
        agent, _ = backend(calls("add", {"a": 2, "b": 2}), says("4"))
        run(agent, step)
        (begun,) = (data for kind, data in step.events if kind == "tool")
        (ended,) = (data for kind, data in step.events if kind == "tool_result")
        assert (begun["name"], begun["arguments"]) == ("add", {"a": 2, "b": 2})
        assert (ended["call_id"], ended["failed"]) == (begun["call_id"], False)

    def test_an_answer_that_is_malformed_is_void(self, step: Any) -> None:
        step.streamed = True
        schema: dict[str, Any] = {"type": "object", "required": ["total"]}
        agent, _ = backend(says("four"), says('{"total":4}'))
        run(agent, step, Turn(input="2 + 2?", answer_schema=schema))
        assert [kind for kind, _ in step.events] == ["text", "restart", "text"]
