"""How a model agent is configured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

from pydantic import AfterValidator, Field, model_validator

from agents.governance.routing import Lacking
from agents.personality import STYLES, TRAITS
from agents.tools.policy import Approve
from celery_agents.contracts.base import Contract, Name, Seconds, SecretName, http_url
from celery_agents.contracts.caching import GivenCache
from celery_agents.contracts.nearest import meant

ProviderName = Literal["openai", "anthropic", "google"]


def _base_url(url: str) -> str:
    base, _, query = http_url(url).partition("?")
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    if len(names) != len(set(names)):
        message = "has a parameter twice"
        raise ValueError(message)
    return url.strip() if names else base


#: One that paths are added to; what stands behind its ``?`` goes with each request.
BaseUrl = Annotated[str, Field(max_length=2000), AfterValidator(_base_url)]
#: A name of a provider's own, which travels in a header.
Identifier = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


def _known(words: Iterable[str]) -> AfterValidator:
    """Take words of a table alone; others are told the nearest one."""
    table = sorted(words)

    def check(word: str) -> str:
        if word not in table:
            raise ValueError(f"{word!r} is none of {', '.join(table)}{meant(word, table, repr)}")
        return word

    return AfterValidator(check)


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("one of them stands there twice")
    return names


Trait = Annotated[str, _known(TRAITS)]
Style = Annotated[str, _known(STYLES)]


class Price(Contract):
    """US dollars per million tokens, for models that genai-prices does not know."""

    input_usd: Annotated[float, Field(ge=0)]
    output_usd: Annotated[float, Field(ge=0)]
    #: Tokens read from the provider's cache; as ``input_usd`` when not given.
    cached_usd: Annotated[float, Field(ge=0)] | None = None
    #: Tokens written to the cache; by default as Anthropic and OpenAI take, 1.25 x ``input_usd``.
    cache_write_usd: Annotated[float, Field(ge=0)] | None = None


#: The most bytes of an answer that are read: of a document, which is parsed at once, and a stream.
DOCUMENT_BYTES, STREAM_BYTES = 4 * 1024 * 1024, 16 * 1024 * 1024
ResponseBytes = Annotated[int, Field(ge=1, le=64 * 1024 * 1024)]


class ModelConfig(Contract):
    """An agent that is a language model behind a provider's API."""

    #: One of those that come with the service, or a plug-in's.
    provider: Name
    model: Annotated[str, Field(min_length=1, max_length=200)]
    instructions: str | None = None
    #: Words of the table in personality.py, each with a weight from 0 to 1.
    traits: dict[Trait, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    style: Style | None = None
    #: A reviewer's: it answers with findings and a score for each, where no other form is asked.
    criteria: Annotated[tuple[Name, ...], Field(max_length=50), AfterValidator(_different)] = ()
    #: Not for Anthropic, whose API refuses it since its version 2026-10-21.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    #: The most tokens that the model takes, its answer included. A request that is estimated to
    #: have more is not made. None: as genai-prices lists it, and no limit where that does not.
    context_tokens: Annotated[int, Field(ge=1)] | None = None
    #: Another server that speaks the provider's protocol. No key is sent there unless
    #: ``api_key_env`` names it: a provider's key does not go to other hosts by accident.
    base_url: BaseUrl | None = None
    #: OpenAI's, for keys that belong to several; the SDK's variables for it are not read.
    organization: Identifier | None = None
    project: Identifier | None = None
    #: By default the provider's usual name, e.g. ``OPENAI_API_KEY``.
    api_key_env: SecretName | None = None
    #: Several keys, by the names of their variables: each has limits, pauses and a breaker of its
    #: own, and a request goes by whichever is free.
    keys: Annotated[tuple[SecretName, ...], Field(max_length=50), AfterValidator(_different)] = ()
    #: What this model cannot do, for routers that choose it: they ask others then.
    lacks: Annotated[tuple[Lacking, ...], Field(max_length=5)] = ()
    #: Let the provider keep what begins each request. None: where instructions and tools have more
    #: than 1,024 tokens, at the provider's own servers.
    prompt_cache: bool | None = None
    #: Python functions that the model may call, and toolsets, as ``module:name``; other agents that
    #: it may ask, as ``agent:name``.
    tools: Annotated[tuple[str, ...], Field(max_length=128)] = ()
    #: Agents that may go on with the conversation in its place.
    handoffs: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    #: Tools, or patterns of names like ``desk_*``, about which a person is asked before each call,
    #: never, or once the run has read what others wrote (``untrusted``); it wins over what the
    #: tools say, a later line over an earlier one.
    approve: dict[str, Approve] = Field(default_factory=dict)
    #: The most model requests in one answer; each round of tool calls takes one more.
    max_turns: Annotated[int, Field(ge=1, le=100)] = 8
    #: The most calls of tools in one reply that are made; of the others the model is told so. No
    #: sensible reply has more, and each may be a task on the loop, a thread, a row, or a wish.
    max_tool_calls: Annotated[int, Field(ge=1, le=1000)] = 100
    #: How often in one answer the model is told that its answer has not the form that was asked
    #: for, and asked again; each takes one of ``max_turns``.
    answer_retries: Annotated[int, Field(ge=0, le=10)] = 1
    #: For one model request, from connecting to its last byte.
    request_timeout_s: Seconds = 120.0
    stream: bool = False
    #: More than this, decoded, is not read of an answer. None: 4 MiB, of a stream 16 MiB, since
    #: servers wrap some 300 bytes around each token.
    max_response_bytes: ResponseBytes | None = None
    #: "schema": the provider's own structured output. "prompt": the schema is asked for in
    #: words, for servers and models that know no schemas.
    structured: Literal["schema", "prompt"] = "schema"
    price: Price | None = None
    #: How its answers are kept: of a model that answers the same each time, or any.
    cache: GivenCache | None = None

    def response_limit(self, *, stream: bool) -> int:
        """``max_response_bytes``, or the limit that None stands for."""
        usual = STREAM_BYTES if stream else DOCUMENT_BYTES
        return usual if self.max_response_bytes is None else self.max_response_bytes

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, table: Any) -> Any:
        """Take a list with one key as that key."""
        keys = table.get("keys") if isinstance(table, dict) else None
        if not keys or not isinstance(keys, list | tuple):
            return table
        if table.get("api_key_env"):
            raise ValueError("keys and api_key_env say the same; give one")
        rest = {name: value for name, value in table.items() if name != "keys"}
        return rest | {"api_key_env": keys[0]} if len(keys) == 1 else table

    @model_validator(mode="after")
    def _takes_temperature(self) -> Self:
        if self.provider == "anthropic" and self.temperature is not None:
            message = "Anthropic's API takes no temperature; leave it out"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _is_cacheable(self) -> Self:
        if self.cache is not None and not self.cache.any and self.temperature != 0:
            message = (
                "cache: it answers otherwise each time; set temperature = 0, or any = true in "
                "cache, to have one of its answers served again"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        window = self.context_tokens
        if window is not None and (self.max_output_tokens or 0) >= window:
            message = "max_output_tokens leaves no room in context_tokens for a request"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _has_organizations(self) -> Self:
        if self.provider != "openai" and (self.organization or self.project):
            message = "organization and project are OpenAI's; leave them out"
            raise ValueError(message)
        return self

    def endpoint(self, usual: str) -> tuple[str, dict[str, str]]:
        """Return where requests go, and the parameters that each of them has."""
        base, _, query = (self.base_url or usual).partition("?")
        return base, dict(parse_qsl(query, keep_blank_values=True))
