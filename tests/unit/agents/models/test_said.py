"""What models said in a session, sent to any provider later: whatever they wrote, it is taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.conversing import uniform
from agents.models.provider import Exchange, ModelRequest, Reply
from agents.models.said import conversation_of, newest, said
from agents.sessions import exchange_of, fitting, recalled, tokens_of
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.policy import ToolPolicy
from agents.tools.results import LongResults
from celery_agents.contracts.conversation import CALLS_MAX, MESSAGES_MAX, ChatMessage, checked
from celery_agents.contracts.outcome import Answer
from celery_agents.contracts.session import SessionExchange
from tests.fakes.refusals import refuse
from tests.support.drawn import costly
from tests.unit.agents.models.test_conversations import PROVIDERS, body_of, prepared

#: Whatever a model may write: halves of characters, nothing, names that no API takes.
wild = st.text(max_size=12) | st.sampled_from(["", " ", "\ud800", "a\x00b", "find", "é"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | wild,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(wild, inner, max_size=2),
    max_leaves=4,
)
tool_calls = st.builds(ToolCall, id=wild, name=wild, arguments=values)
results = st.builds(ToolResult, call=tool_calls, value=values, failed=st.booleans())
exchanges = st.builds(
    lambda text, found: Exchange(
        reply=Reply(text=text, tool_calls=tuple(r.call for r in found)), results=tuple(found)
    ),
    wild,
    st.lists(results, min_size=1, max_size=3),
)
questions = st.none() | wild | values
talks = st.lists(st.tuples(questions, st.lists(exchanges, max_size=2), values), max_size=5)


def kept(talk: tuple[Any, list[Exchange], Any], place: int) -> SessionExchange:
    """An exchange as the journal gives it back."""
    question, turns, answer = talk
    told = Answer(value=None, turns=said(turns)).turns
    messages = exchange_of((), question, told, answer)
    row = {"place": place, "at": 1.0, "tokens": tokens_of(messages)}
    return SessionExchange.model_validate({**row, "messages": [m.compact() for m in messages]})


@pytest.mark.parametrize("provider", list(PROVIDERS))
@settings(
    max_examples=costly(300, part=10), suppress_health_check=[HealthCheck.too_slow], deadline=None
)
@given(talks=talks, budget=st.integers(0, 120))
def test_any_session_is_taken_within_any_window(
    provider: str, talks: list[Any], budget: int
) -> None:
    session = [kept(talk, place) for place, talk in enumerate(talks)]
    budget %= sum(e.tokens for e in session) + 10  # mostly too little for all of it
    number = fitting((e.tokens for e in reversed(session)), budget)
    window = session[len(session) - number :]
    told = recalled((e.place, e.messages) for e in window)
    checked(told)
    assert tokens_of(told) <= budget
    if number < len(session):
        assert sum(e.tokens for e in session[len(session) - number - 1 :]) > budget
    history = [m.compact() for m in told]
    refuse(provider, body_of(prepared(provider, history, user="And now?")))


def test_a_reply_without_its_own_ids() -> None:
    one = ToolResult(call=ToolCall(id="", name="find", arguments={"n": 1}), value=[1, "é"])
    two = ToolResult(call=ToolCall(id="", name="a b", arguments="n = 1"), value="no", failed=True)
    found = said([Exchange(reply=Reply(text=" "), results=(one, two))])
    asked, *told = [m.compact() for m in found]
    assert asked == {
        "role": "assistant",
        "tool_calls": [
            {"id": "said_0", "name": "find", "arguments": {"n": 1}},
            {"id": "said_1", "name": "a_b", "arguments": {"arguments": "n = 1"}},
        ],
    }
    assert told == [
        {"role": "tool", "content": '[1, "é"]', "call_id": "said_0"},
        {"role": "tool", "content": "no", "call_id": "said_1"},
    ]


@pytest.mark.parametrize(
    "around", [str, lambda told: {"by": told}, lambda told: {"b": [{"a": told}]}]
)
def test_nothing_reads_on_in_a_result_of_an_answer_that_is_over(around: Any) -> None:
    """The next one numbers its own, and would be told of another."""
    long = LongResults()
    told = long.told("find", "ab\n" * 200, ToolPolicy(max_result_bytes=300, untrusted=True))
    assert "reads on" in str(told)
    result = ToolResult(call=ToolCall(id="1", name="find", arguments={}), value=around(told))
    _, heard = said([Exchange(reply=Reply(text=""), results=(result,))])
    assert "read" not in heard.text
    assert "300 of 600 bytes are left out …]" in heard.text


def test_complaints_are_no_part_of_it() -> None:
    assert said([Exchange(reply=Reply(text="7"), complaint="No object.")]) == ()


#: Ids and names as others write them: of any letters, again in each message, one of ours.
foreign = st.sampled_from(["x:1", "toolu/2", "said_1", "é", "0"]) | st.text(min_size=1, max_size=9)
names = st.sampled_from(["find", "a b", "an.other", "é"])


@st.composite
def given_exchanges(draw: st.DrawFn) -> list[ChatMessage]:
    ids = draw(st.lists(foreign, min_size=1, max_size=3, unique=True))
    calls = [{"id": i, "name": draw(names), "arguments": draw(plain)} for i in ids]
    told = [{"role": "tool", "call_id": i, "content": "r"} for i in draw(st.permutations(ids))]
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": calls}, *told]
    return [ChatMessage.model_validate(m) for m in [*said, {"role": "assistant", "content": "!"}]]


plain = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
before = st.lists(given_exchanges(), max_size=3).map(lambda many: tuple(m for e in many for m in e))


@pytest.mark.parametrize("provider", list(PROVIDERS))
@settings(
    max_examples=costly(300, part=10), suppress_health_check=[HealthCheck.too_slow], deadline=None
)
@given(history=before, turns=st.lists(exchanges, max_size=3))
def test_any_conversation_is_taken_by_who_goes_on(
    provider: str, history: tuple[ChatMessage, ...], turns: list[Exchange]
) -> None:
    request = ModelRequest(
        model="m", system=None, history=history, user="?", exchanges=tuple(turns)
    )
    told = checked(conversation_of(request))
    ids = [call.id for message in told for call in message.tool_calls]
    assert (
        len({*ids})
        == len(ids)
        == sum(len(m.tool_calls) for m in history) + sum(len(e.results) for e in turns)
    )
    refuse(provider, body_of(prepared(provider, [m.compact() for m in told], user="And now?")))
    assert tuple(uniform(told)) == told  # so whoever goes on asks the same in each attempt


@pytest.mark.parametrize("earlier", [1, MESSAGES_MAX])
def test_more_than_a_conversation_holds_is_handed_over_without_its_oldest(earlier: int) -> None:
    """Of the calls too; none of them without its result, and the question stays."""
    looked = ToolResult(call=ToolCall(id="1", name="find", arguments={}), value=1)
    turns = (Exchange(reply=Reply(text=""), results=(looked,) * 2),) * (MESSAGES_MAX // 2)
    history = (ChatMessage(role="user", content="Before."),) * earlier
    asked = ModelRequest(model="m", system=None, history=history, user="?", exchanges=turns)
    told = checked(conversation_of(asked))
    assert MESSAGES_MAX - 3 < len(told) <= MESSAGES_MAX
    assert [m.text for m in told if m.role == "user"][-2:] == ["Before.", "?"]
    assert told[-1].role == "tool"
    assert len(checked(newest(said(turns)))) == MESSAGES_MAX - 1


def test_results_stay_with_their_calls() -> None:
    """In whichever order they were given; and arguments that are objects as they were."""
    calls = [{"id": i, "name": "find", "arguments": {"n": i}} for i in ("a:1", "b:2")]
    history = [
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "call_id": "b:2", "content": "of b"},
        {"role": "tool", "call_id": "a:1", "content": "of a"},
    ]
    asked, *told = uniform(ChatMessage.model_validate(m) for m in history)
    results = {m.call_id: m.text for m in told}
    assert [(c.arguments, results[c.id]) for c in asked.tool_calls] == [
        *(({"n": "a:1"}, "of a"), ({"n": "b:2"}, "of b"))
    ]


def test_a_reply_with_more_calls_than_a_message_has() -> None:
    one = ToolResult(call=ToolCall(id="1", name="find", arguments={}), value="x")
    told = checked(said([Exchange(reply=Reply(text="Look."), results=(one,) * (CALLS_MAX + 1))]))
    assert [len(m.tool_calls) for m in told if m.role == "assistant"] == [CALLS_MAX, 1]
    assert [m.text for m in told if m.role == "assistant"] == ["Look.", ""]


def test_two_replies_that_number_their_calls_alike() -> None:
    one = ToolResult(call=ToolCall(id="1", name="find", arguments={}), value="x")
    turns = said([Exchange(reply=Reply(text=""), results=(one,))] * 2)
    talk = exchange_of((), "?", turns, "!")
    told = recalled([(3, talk), (4, talk)])
    ids = [c.id for m in told for c in m.tool_calls]
    assert ids == ["call_3_0", "call_3_1", "call_4_0", "call_4_1"]
    assert [m.call_id for m in told if m.role == "tool"] == ids
    assert isinstance(told[0], ChatMessage)
