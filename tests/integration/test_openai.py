"""``/v1`` as OpenAI's SDK asks it: a process of the API, real workers, and what dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from app.access.permissions import Role
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import Stack, eventually
from tests.support.api import made_key, served

pytestmark = pytest.mark.databases("sqlite")

TEXT = "The quick brown fox jumps over the lazy dog, again and again, until it is tired. " * 4
HELLO: Any = [{"role": "user", "content": "hello"}]
ENV = ("REDIS_URL", "DATABASE_URL", "AGENTS_CONFIG")


def env_of(stack: Stack) -> dict[str, str]:
    return {name: stack.env[name] for name in ENV if name in stack.env}


def sdk(url: Any, key: str, **about: Any) -> OpenAI:
    base = str(url).rstrip("/")
    return OpenAI(base_url=f"{base}/v1", api_key=key, **{"max_retries": 0, "timeout": 60, **about})


@pytest.fixture(scope="module")
def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A process of the API beside the shared stack."""
    with served(env_of(stack), tmp_path_factory.mktemp("api")) as http:
        yield http.base_url


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return made_key(stack.database_url, Role.USER, tenant="acme")


@pytest.fixture(scope="module")
def ai(api: Any, key: str) -> Iterator[OpenAI]:
    with sdk(api, key) as made:
        yield made


def numbers(events: Iterable[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def said(events: Iterable[Any]) -> str:
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


# -- models


def test_models_are_agents_and_panels(ai: OpenAI) -> None:
    found = {m.id: m.owned_by for m in ai.models.list()}
    assert found["shout"] == "function"
    assert (found["gpt"], found["triage"], found["first"]) == ("openai", "vote", "fallback")
    assert ai.models.retrieve("triage").id == "triage"
    with pytest.raises(openai.NotFoundError) as told:
        ai.models.retrieve("nobody")
    assert told.value.code == "model_not_found"


def test_models_of_a_key_that_may_ask_some(stack: Stack, api: Any) -> None:
    narrow = made_key(stack.database_url, Role.USER, agents=["yes", "sho*"])
    with sdk(api, narrow) as some:
        found = {m.id for m in some.models.list()}
        assert {"yes", "shout"} <= found
        assert not found & {"no", "triage", "gpt"}  # one of the panel's voters is not for it
        with pytest.raises(openai.NotFoundError):
            some.chat.completions.create(model="triage", messages=HELLO)


# -- chat


def test_a_completion(ai: OpenAI) -> None:
    told = ai.chat.completions.create(model="shout", messages=HELLO)
    (choice,) = told.choices
    assert (choice.message.content, choice.finish_reason, told.model) == ("HELLO", "stop", "shout")
    assert told.id.startswith("chatcmpl-")


def test_a_model_is_told_the_conversation(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(text="fine"))
    messages: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Nobody."},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]
    before = len(model.requests)
    told = ai.chat.completions.create(model="gpt", messages=messages)
    assert told.choices[0].message.content == "fine"
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (100, 20)
    assert told.usage.prompt_tokens_details is not None
    assert told.usage.prompt_tokens_details.cached_tokens == 40
    sent = [(m["role"], m["content"]) for m in model.requests[before].body["messages"]]
    assert sent[1:] == [
        ("user", "Who are you?"),
        ("assistant", "Nobody."),
        ("user", "And now?"),
    ]
    assert "Be short." in sent[0][1]


def test_a_vote_is_a_model(ai: OpenAI) -> None:
    told = ai.chat.completions.create(model="triage", messages=HELLO)
    assert (told.choices[0].message.content, told.model) == ("yes", "triage")
    first = ai.chat.completions.create(model="first", messages=HELLO)
    assert first.choices[0].message.content
    with pytest.raises(openai.ConflictError) as error:
        ai.chat.completions.create(model="split", messages=HELLO)
    assert error.value.code == "no_decision"


def test_a_chat_is_streamed(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(text=TEXT, pieces=20, pause_s=0.03))
    chunks = [
        *ai.chat.completions.create(
            model="streamed", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    ]
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == TEXT
    assert sum(map(bool, pieces)) > 3
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20
    with ai.chat.completions.stream(model="streamed", messages=HELLO) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == TEXT


@pytest.mark.parametrize(("name", "text"), [("shout", "HELLO"), ("triage", "yes")])
def test_who_says_nothing_on_the_way_is_streamed_at_once(ai: OpenAI, name: str, text: str) -> None:
    chunks = [*ai.chat.completions.create(model=name, messages=HELLO, stream=True)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == text
    with ai.responses.stream(model=name, input="hello") as stream:
        assert stream.get_final_response().output_text == text


def test_an_answer_of_a_schema(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(json={"total": 3}))
    schema = {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}
    told = ai.chat.completions.create(model="gpt", messages=HELLO, response_format=form)
    assert json.loads(told.choices[0].message.content or "") == {"total": 3}
    text: Any = {"format": {"type": "json_schema", "name": "t", "schema": schema}}
    response = ai.responses.create(model="gpt", input="hello", text=text)
    assert json.loads(response.output_text) == {"total": 3}
    again = ai.responses.retrieve(response.id)
    assert again.output_text == response.output_text
    with pytest.raises(openai.BadRequestError) as error:
        ai.chat.completions.create(model="triage", messages=HELLO, response_format=form)
    assert (error.value.code, error.value.param) == ("unsupported_parameter", "response_format")


# -- what cannot be had


@pytest.mark.parametrize(
    ("about", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["x"]}, "stop"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": []}, "messages"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"model": "triage", "messages": HELLO * 2}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]",
        ),
    ],
)
def test_what_cannot_be_had_is_said(ai: OpenAI, about: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        ai.chat.completions.create(**{"model": "shout", "messages": HELLO, **about})
    assert told.value.type == "invalid_request_error"
    assert (told.value.param or "").startswith(param) or param in told.value.message


def test_what_changes_nothing_is_named(ai: OpenAI) -> None:
    raw = ai.chat.completions.with_raw_response
    told = raw.create(model="shout", messages=HELLO, temperature=0.2, n=1, max_tokens=9)
    assert told.headers["x-ignored-parameters"] == "max_tokens, temperature"
    assert told.headers["x-request-id"] in told.parse().id


def test_errors_are_of_openais_form(api: Any, key: str, stack: Stack) -> None:
    with sdk(api, "ca_abcdefgh_" + "x" * 43) as nobody:
        with pytest.raises(openai.AuthenticationError) as error:
            nobody.models.list()
        assert error.value.code == "invalid_api_key"
    reader = sdk(api, made_key(stack.database_url, Role.READONLY))
    with reader, pytest.raises(openai.PermissionDeniedError):
        reader.chat.completions.create(model="shout", messages=HELLO)
    with httpx2.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}) as http:
        for method, path, status in [
            ("POST", "/v1/embeddings", 404),
            ("DELETE", "/v1/models", 405),
            ("GET", "/v1/responses/x", 404),
            ("GET", "/v1/responses/resp_x", 404),
        ]:
            told = http.request(method, path)
            assert told.status_code == status
            assert set(told.json()["error"]) == {"message", "type", "param", "code"}
            if path != "/v1/responses/x" and "resp" not in path:
                assert "responses are served" in told.json()["error"]["message"]
        large = http.post("/v1/responses", content=b"x" * 2_000_000)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "payload_too_large")
        json_type = {"Content-Type": "application/json"}
        broken = http.post("/v1/responses", content=b"{", headers=json_type)
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")


def test_one_that_fails_is_not_tried_again(api: Any, key: str, stack: Stack) -> None:
    with sdk(api, key, max_retries=2) as ai:
        before = stack.counts()
        with pytest.raises(openai.InternalServerError) as error:
            ai.chat.completions.create(model="refused", messages=HELLO)
        assert error.value.code == "agent_failed"
        assert stack.counts() == before + 1
        with pytest.raises(openai.APIError, match="hello"):
            [*ai.chat.completions.create(model="refused", messages=HELLO, stream=True)]


# -- responses


def test_a_response(ai: OpenAI, stack: Stack) -> None:
    told = ai.responses.create(model="shout", input="hello")
    assert (told.status, told.output_text) == ("completed", "HELLO")
    again = ai.responses.retrieve(told.id)
    assert (again.status, again.output_text, again.model) == ("completed", "HELLO", "shout")
    vote = ai.responses.create(model="triage", input="hello")
    assert ai.responses.retrieve(vote.id).model == "triage"
    assert ai.responses.retrieve(vote.id).output_text == "yes"


def test_a_response_of_another_tenant_is_not_there(ai: OpenAI, api: Any, stack: Stack) -> None:
    told = ai.responses.create(model="shout", input="hello", background=True)
    with sdk(api, made_key(stack.database_url, Role.USER, tenant="umbrella")) as other:
        for ask in (other.responses.retrieve, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                ask(told.id)


def test_a_conversation_goes_on(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(text="Ada"), Does(text="You are Ada."))
    ai.responses.create(model="gpt", input="I am Ada.", conversation="conv_1")
    before = len(model.requests)
    told = ai.responses.create(model="gpt", input="Who am I?", conversation="conv_1")
    assert told.output_text == "You are Ada."
    texts = [m["content"] for m in model.requests[before].body["messages"]]
    assert texts[-3:] == ["I am Ada.", "Ada", "Who am I?"]


def test_one_goes_on_with_an_earlier_one(ai: OpenAI, model: ModelServer) -> None:
    """Each answer is gone on with in several ways; instructions are of one response alone."""
    model.script(Does(text="Ada"), Does(text="You are Ada."), Does(text="Nobody asked."))
    first = ai.responses.create(model="gpt", input="I am Ada.", instructions="Be short.")
    before = len(model.requests)
    for question in ("Who am I?", "And then?"):
        told = ai.responses.create(model="gpt", input=question, previous_response_id=first.id)
    assert told.output_text == "Nobody asked."
    asked = [[m["content"] for m in r.body["messages"]] for r in model.requests[before:]]
    assert [texts[-3:] for texts in asked] == [
        ["I am Ada.", "Ada", "Who am I?"],
        ["I am Ada.", "Ada", "And then?"],
    ]
    assert "Be short." not in str(asked)
    model.script(Does(text="Fine."))
    image = [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}]
    turn: Any = [{"role": "user", "content": [*image, {"type": "input_text", "text": "This?"}]}]
    third = ai.responses.create(model="gpt", input=turn, previous_response_id=told.id)
    items = [*ai.responses.input_items.list(third.id, order="asc", limit=2)]  # page after page
    texts = [[getattr(part, "text", part.type) for part in item.content] for item in items]
    assert texts == [
        ["I am Ada."],
        ["Ada"],
        ["And then?"],
        ["Nobody asked."],
        ["input_image", "This?"],
    ]
    assert [item.role for item in items] == ["user", "assistant"] * 2 + ["user"]
    page = ai.responses.input_items.list(third.id, limit=1)
    assert (page.data, page.has_more) == ([items[-1]], True)
    last: Any = ai.responses.input_items.list(third.id, after=items[0].id)
    assert last.data == []


def test_a_panels_answer_is_gone_on_with(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(text="It was."))
    vote = ai.responses.create(model="triage", input="Was it?")
    before = len(model.requests)
    ai.responses.create(model="gpt", input="Why?", previous_response_id=vote.id)
    texts = [m["content"] for m in model.requests[before].body["messages"]]
    assert texts[-3:] == ["Was it?", "yes", "Why?"]


def test_what_cannot_be_gone_on_with_is_said(ai: OpenAI, api: Any, stack: Stack) -> None:
    order = json.dumps({"words": 3, "path": "/dev/null", "pause_s": 60})
    waits = ai.responses.create(model="recites", input=order, background=True)
    talk = ai.responses.create(model="shout", input="hello", conversation="conv_2")
    whole = ai.responses.create(model="shout", input="hello")
    with sdk(api, made_key(stack.database_url, Role.USER, tenant="umbrella")) as other:
        foreign = other.responses.create(model="shout", input="hello")
        with pytest.raises(openai.NotFoundError):
            other.responses.input_items.list(whole.id)
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("resp_gone", "previous_response_not_found", {}),
        ("nonsense", "previous_response_not_found", {}),
        (foreign.id, "previous_response_not_found", {}),
        (waits.id, "previous_response_not_completed", {}),
        (talk.id, "unsupported_parameter", {}),
        (whole.id, "unsupported_parameter", {"conversation": "conv_3"}),
        (whole.id, "unsupported_parameter", {"model": "triage"}),  # is told no messages
    ]
    for previous, code, about in cases:
        asked: Any = {"model": "shout", "input": "?", **about}
        with pytest.raises(openai.BadRequestError) as error:
            ai.responses.create(previous_response_id=previous, **asked)
        assert error.value.code == code, previous
    ai.responses.cancel(waits.id)


def test_in_the_background(ai: OpenAI) -> None:
    order = json.dumps({"words": 3, "path": "/dev/null"})
    told = ai.responses.create(model="recites", input=order, background=True)
    assert told.status in {"queued", "in_progress"}
    ended = eventually(lambda: _ended(ai, told.id))
    assert (ended.status, ended.output_text) == ("completed", "word-0 word-1 word-2")
    assert ended.usage.output_tokens == 3
    with pytest.raises(openai.BadRequestError):
        ai.responses.create(model="shout", input="hello", background=True, store=False)


def _ended(ai: OpenAI, response_id: str) -> Any:
    found = ai.responses.retrieve(response_id)
    return None if found.status in {"queued", "in_progress"} else found


def test_one_is_cancelled(ai: OpenAI) -> None:
    order = json.dumps({"words": 3, "path": "/dev/null", "pause_s": 60})
    told = ai.responses.create(model="recites", input=order, background=True)
    eventually(lambda: ai.responses.retrieve(told.id).status == "in_progress")
    assert ai.responses.cancel(told.id).status == "cancelled"
    assert ai.responses.cancel(told.id).status == "cancelled"


def test_a_response_is_streamed_with_the_helper(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(text=TEXT, pieces=20, pause_s=0.03))
    with ai.responses.stream(model="streamed", input="hello") as stream:
        events = [*stream]
        final = stream.get_final_response()
    assert (final.status, final.output_text) == ("completed", TEXT)
    assert said(events) == TEXT
    assert numbers(events) == [*range(len(events))]
    assert len(events) > 10
    assert events[0].type == "response.created"


def test_calls_of_tools_are_told(ai: OpenAI, model: ModelServer) -> None:
    model.script(Does(text="Let me see.", tool=("charge", {"amount": 3})), Does(text="Charged."))
    events = [*ai.responses.create(model="charging", input="charge me", stream=True)]
    (call,) = [e.item for e in events if e.type == "response.output_item.done"][1:2]
    assert (call.type, call.name, call.status) == ("mcp_call", "charge", "completed")
    assert json.loads(call.arguments) == {"amount": 3}
    assert events[-1].response.output_text == "Charged."
    assert numbers(events) == [*range(len(events))]
    chunks = ai.chat.completions.create(model="charging", messages=HELLO, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Charged."


def test_one_is_read_on_from_any_event(ai: OpenAI, model: ModelServer, stack: Stack) -> None:
    model.script(Does(text=TEXT, pieces=10))
    about: Any = {"model": "streamed", "stream": True, "background": True}
    events: list[Any] = [*ai.responses.create(input="hi", **about)]
    response_id = events[0].response.id
    for place in (-1, 0, 3, len(events) - 2):
        rest = [*ai.responses.retrieve(response_id, stream=True, starting_after=place)]
        assert [(e.sequence_number, e.type) for e in rest] == [
            (e.sequence_number, e.type) for e in events[place + 1 :]
        ]
        assert said(rest) == said(events[place + 1 :])
    run_id = response_id.removeprefix("resp_")
    stack.redis.delete(f"agents:stream:{run_id}", f"celery-task-meta-{run_id}")
    whole = [*ai.responses.retrieve(response_id, stream=True)]
    assert said(whole) == TEXT  # as the row has it
    assert numbers(whole) == [*range(len(whole))]
    end: Any
    (end,) = ai.responses.retrieve(response_id, stream=True, starting_after=len(events))
    assert (end.sequence_number, end.response.output_text) == (len(events) + 1, TEXT)
