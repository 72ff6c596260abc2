"""Bodies of ``/v1``: which parameters are served, which change nothing here, which are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, WithJsonSchema

from api.openai.conversing import ToldChat, of_chat, of_input, told
from api.openai.described import INPUT, MESSAGES
from api.openai.errors import unsupported
from api.problems import ProblemError
from celery_agents.contracts.base import Name

#: Parameters that an agent's own entry settles, or that change no answer. They are named in the
#: header ``x-ignored-parameters``.
IGNORED = frozenset(
    {
        *("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "verbosity"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tool_calls"),
        *("reasoning", "reasoning_effort", "parallel_tool_calls", "prediction", "truncation"),
        *("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("store", "metadata", "service_tier", "include", "top_k"),
    }
)
#: Parameters that would change the answer, and cannot be had; with the values that ask for nothing.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stop": ([],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "prompt": (),
    "context_management": (),
}
_WHY = {
    "tools": "Tools are the agent's own: name them in its entry. It calls them by itself.",
}


def _asks_nothing(name: str, value: Any) -> bool:
    return any(type(value) is type(one) and value == one for one in _REFUSED[name])


class JsonForm(BaseModel):
    """The form of an answer: text, any JSON object, or JSON of a schema."""

    model_config = ConfigDict(extra="allow")

    type: Literal["text", "json_object", "json_schema"] = "text"
    #: Of a chat completion: ``schema`` stands in it.
    json_schema: dict[str, Any] | None = None
    #: Of a response.
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None

    def answer_schema(self, place: str) -> dict[str, Any] | None:
        """The schema that an answer has to hold.

        Raises:
            ProblemError: there is none.
        """
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        inner = (self.json_schema or {}).get("schema") if self.schema_ is None else self.schema_
        if not isinstance(inner, dict):
            raise ProblemError(400, "invalid_value", f"{place}: a schema is missing.", param=place)
        return inner


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool = False


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    #: The name of an agent, or of a panel.
    model: Name
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    def ignored(self) -> list[str]:
        """Parameters that change nothing here.

        Raises:
            ProblemError: one would, and cannot be had; or nobody knows it.
        """
        found = []
        for name, value in (self.model_extra or {}).items():
            if name in IGNORED:
                found += [name] if value is not None else []
            elif name not in _REFUSED:
                text = f"Unrecognized request argument supplied: {name[:100]}"
                raise ProblemError(400, "unknown_parameter", text, param=name[:100])
            elif value is not None and not _asks_nothing(name, value):
                why = _WHY.get(name, f"{name} cannot be had of an agent.")
                raise unsupported(name, why)
        return sorted(found)


class ChatBody(_Body):
    """The body of a chat completion."""

    messages: Annotated[
        list[dict[str, Any]],
        Field(min_length=1, max_length=10_000),
        WithJsonSchema(MESSAGES),
    ]
    response_format: JsonForm | None = None

    def told(self) -> ToldChat:
        """The conversation; raises ProblemError where it is none."""
        return told(of_chat(self.messages))

    def answer_schema(self) -> dict[str, Any] | None:
        """The schema of the answer; raises ProblemError where it is none."""
        form = self.response_format
        return None if form is None else form.answer_schema("response_format")


class TextOptions(BaseModel):
    """The form of a response's text."""

    model_config = ConfigDict(extra="allow")

    format: JsonForm | None = None


class ConversationName(BaseModel):
    """The conversation that a response goes on with."""

    id: Name


class ResponseBody(_Body):
    """The body of a response."""

    input: Annotated[
        Annotated[str, Field(min_length=1)] | list[dict[str, Any]], WithJsonSchema(INPUT)
    ]
    instructions: str | None = None
    text: TextOptions | None = None
    background: StrictBool | None = None
    #: The session of a run: its exchanges are told, and this one is added.
    conversation: Name | ConversationName | None = None
    #: An earlier response that this one goes on with.
    previous_response_id: Annotated[str, Field(max_length=200)] | None = None

    def ignored(self) -> list[str]:
        """As of all bodies."""
        if self.background and (self.model_extra or {}).get("store") is False:
            raise unsupported("store", "A response in the background is kept: store cannot be off.")
        if self.previous_response_id is not None and self.conversation is not None:
            why = "A response goes on with a conversation or with an earlier response, not both."
            raise unsupported("previous_response_id", why)
        return super().ignored()

    def told(self) -> ToldChat:
        """The conversation; raises ProblemError where it is none."""
        return told(of_input(self.input), self.instructions)

    def answer_schema(self) -> dict[str, Any] | None:
        """The schema of the answer; raises ProblemError where it is none."""
        form = None if self.text is None else self.text.format
        return None if form is None else form.answer_schema("text.format")

    @property
    def session(self) -> str | None:
        """The name of its conversation."""
        found = self.conversation
        return found.id if isinstance(found, ConversationName) else found
