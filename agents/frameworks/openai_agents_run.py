"""Agents of OpenAI's SDK made durable: models, tools and sessions whose acts are journaled calls.

All of it holds wherever the SDK's ``Runner`` is used within a step, so also of an agent that is a
tool of another one (``as_tool``). Outside of steps nothing is changed.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from pydantic import TypeAdapter

from agents.current import CURRENT, Current, outside
from agents.frameworks.exchange import call_within
from agents.frameworks.openai_agents_items import (
    asks_server,
    call_name,
    kept_items,
    kept_output,
    request_told,
    tokens_of,
    told,
    tool_fingerprint,
)
from agents.frameworks.openai_agents_sdk import SDK
from agents.frameworks.requests import PricedModel
from agents.invoke import known_error
from agents.models.config import ModelConfig, Price
from agents.models.provider import ModelRequest
from agents.net.sdks import sdk_failure
from agents.values import digest, text_of
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import AgentsError, BadAnswerError, ConfigurationError

#: The order in which ``Model.get_response`` takes what is asked.
_ASKED = (
    "system_instructions",
    "input",
    "model_settings",
    "tools",
    "output_schema",
    "handoffs",
    "tracing",
)
#: Tools that are done by the provider, within the request. All others are done here.
_HOSTED = (
    "WebSearchTool",
    "FileSearchTool",
    "CodeInterpreterTool",
    "ImageGenerationTool",
    "HostedMCPTool",
    "ToolSearchTool",
)
#: Sessions that a server keeps.
_SERVERS = frozenset({"OpenAIConversationsSession", "OpenAIResponsesCompactionSession"})
_KEPT_THERE = (
    "a conversation that a server keeps ({}) cannot be played again: it has grown by what an "
    "attempt did that has died. Give the history with the input, use a session of the service "
    "(ask(…, session=…)), or a session of the SDK that is kept here"
)
_OUTPUT: TypeAdapter[Any] = TypeAdapter(list[SDK.items.TResponseOutputItem])
_USAGE: TypeAdapter[Any] = TypeAdapter(SDK.Usage)
_MODELS_MAX = 100
#: Arguments that people have given instead, by the ids of calls.
CHANGED: ContextVar[Mapping[str, str]] = ContextVar("changed_arguments")


class Prices:
    """The prices of models, by their names: the list's, or those of the one that is given."""

    def __init__(self, price: Price | None = None, where: str = "") -> None:
        self._price = price
        self._where = where
        self._known: dict[tuple[str, str | None], PricedModel] = {}

    def of(self, model: str, base_url: str | None) -> PricedModel:
        """The prices of a model at a server; None: OpenAI's own."""
        about = (model, base_url)
        if (found := self._known.get(about)) is None:
            if len(self._known) >= _MODELS_MAX:
                self._known.clear()
            told: Any = {"provider": "openai", "model": model, "base_url": base_url}
            config = ModelConfig(**told, price=self._price)
            found = self._known[about] = PricedModel(config, self._where)
        return found


class StepModel(SDK.Model):
    """A model whose requests are journaled calls of the step that asks it."""

    def __init__(self, inner: Any, name: str | None, prices: Prices) -> None:
        self._inner = inner
        asked = name or getattr(inner, "model", None)
        self._name = str(asked or type(inner).__name__)[:200]
        self._prices = prices

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._inner._cleanup_on_run_end(owner)  # noqa: SLF001 - the SDK asks it of each model

    async def close(self) -> None:
        """Close the model."""
        await self._inner.close()

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        """The answer, of the journal where an earlier attempt has got it."""
        asked = dict(zip(_ASKED, args, strict=False)) | kwargs
        within = CURRENT.get()
        if within is None:
            return await self._inner.get_response(**asked)
        return _read(await self._call(within, asked))

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """The answer as one event. Its text is told to watchers of the run while it comes."""
        asked = dict(zip(_ASKED, args, strict=False)) | kwargs
        within = CURRENT.get()
        if within is None:
            async for event in self._inner.stream_response(**asked):
                yield event
            return
        yield _completed(_read(await self._call(within, asked)), self._name)

    async def _call(self, within: Current, asked: dict[str, Any]) -> Any:
        if (name := asks_server(asked)) is not None:
            raise ConfigurationError(_KEPT_THERE.format(name))
        about, step, made = request_told(self._name, asked), within.step, False
        model = self._prices.of(self._name, self._base_url)
        most = asked["model_settings"].max_tokens
        request = ModelRequest(
            model=self._name, system=None, user=text_of(about), max_output_tokens=most
        )

        async def perform(key: str) -> Answer:
            nonlocal made
            made = True
            with outside():  # a durable client below would count it twice
                response = await self._ask(within, self._keyed(asked, key))
            usage = await model.usage(request, tokens_of(response.usage))
            return Answer(value=_kept(response), usage=usage)

        name, fingerprint = call_name("model", self._name), digest(about)
        expect = model.expect(request)
        try:
            answer = await call_within(
                within, name, perform, fingerprint=fingerprint, expect=expect
            )
        except AgentsError:
            raise
        except Exception as error:
            raise sdk_failure(self._name, error) from error
        if not made and step.streamed:
            step.say(_text(answer.value))  # an earlier attempt's, which watchers dropped
        return answer.value

    async def _ask(self, within: Current, asked: dict[str, Any]) -> Any:
        if not within.step.streamed:
            return await self._inner.get_response(**asked)
        items, response = [], None
        async for event in self._inner.stream_response(**asked):
            if event.type == "response.output_text.delta":
                within.step.say(event.delta)
            elif event.type == "response.output_item.done":
                items.append(event.item)
            elif event.type == "response.completed":
                response = event.response
        if response is None:
            raise BadAnswerError(f"The stream of {self._name} ended without an answer.")
        used: Any = {"requests": 1}
        if response.usage is not None:
            told = response.usage
            names = ("input_tokens", "output_tokens", "total_tokens")
            details = ("input_tokens_details", "output_tokens_details")
            used |= {name: getattr(told, name) for name in (*names, *details)}
        usage = SDK.Usage(**used)
        about: Any = {"response_id": response.id, "usage": usage}
        return SDK.ModelResponse(output=response.output or items, **about)

    def _keyed(self, asked: dict[str, Any], key: str) -> dict[str, Any]:
        """The same request under the key of its call, where that is a header of OpenAI's client."""
        settings = asked["model_settings"]
        if self._server is None:
            return asked
        headers = {**(settings.extra_headers or {}), "Idempotency-Key": key}
        settings = settings.resolve(SDK.ModelSettings(extra_headers=headers))
        return {**asked, "model_settings": settings}

    @property
    def _server(self) -> str | None:
        """Where OpenAI's client sends it; None: it is sent otherwise."""
        url = getattr(getattr(self._inner, "_client", None), "base_url", None)
        return None if url is None else str(url)

    @property
    def _base_url(self) -> str | None:
        """The server that prices are looked up of; None: OpenAI's own."""
        server = self._server
        if server is None:
            return _ELSEWHERE
        return None if "//api.openai.com/" in server else server


_ELSEWHERE = "https://elsewhere.invalid"


def _kept(response: Any) -> Any:
    return {
        "output": kept_items(response.output),
        "usage": _USAGE.dump_python(response.usage, mode="json"),
        "response_id": response.response_id,
    }


def _read(kept: Any) -> Any:
    """A response, as the first attempt and all others have it."""
    return SDK.ModelResponse(
        output=_OUTPUT.validate_python(kept["output"]),
        usage=_USAGE.validate_python(kept["usage"]),
        response_id=kept["response_id"],
    )


def _text(kept: Any) -> str:
    parts = [part for item in kept["output"] for part in item.get("content") or ()]
    return "".join(str(part.get("text") or "") for part in parts)


def _completed(response: Any, model: str) -> Any:
    from openai.types.responses import Response, ResponseCompletedEvent, ResponseUsage

    usage = response.usage
    used = ResponseUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_tokens_details=usage.input_tokens_details,
        output_tokens_details=usage.output_tokens_details,
    )
    about: Any = {"object": "response", "tools": [], "tool_choice": "auto"}
    whole = Response(
        id=response.response_id or "",
        created_at=0,
        model=model,
        output=response.output,
        parallel_tool_calls=True,
        usage=used,
        **about,
    )
    return ResponseCompletedEvent(response=whole, sequence_number=0, type="response.completed")


class StepProvider(SDK.ModelProvider):
    """Gives models by their names, each as a :class:`StepModel`."""

    def __init__(self, inner: Any, prices: Prices) -> None:
        self._inner = inner
        self.prices = prices

    def get_model(self, model_name: str | None) -> Any:
        """The model of that name; None: the provider's usual one."""
        return step_model(self._inner.get_model(model_name), self.prices, model_name)

    async def aclose(self) -> None:
        """Close the provider."""
        await self._inner.aclose()


def step_model(model: Any, prices: Prices, name: str | None = None) -> Any:
    """A model whose requests are journaled calls."""
    return model if isinstance(model, StepModel) else StepModel(model, name, prices)


class _StepTool:
    """The work of a function tool, as a journaled call. An agent as a tool has calls of its own."""

    def __init__(self, tool: Any, *, journaled: bool) -> None:
        self._invoke = tool.on_invoke_tool
        self._name = tool.qualified_name
        self._typed = tool.output_json_schema is not None
        self._journaled = journaled

    async def __call__(self, ctx: Any, arguments: str) -> Any:
        within, call_id = CURRENT.get(), getattr(ctx, "tool_call_id", "")
        if within is None:
            return await self._invoke(ctx, arguments)
        arguments = CHANGED.get({}).get(call_id, arguments)
        if not self._journaled:
            return await self._invoke(ctx, arguments)

        async def perform(_: str) -> Answer:
            output = await self._invoke(ctx, arguments)
            return Answer(value=told(output) if self._typed else kept_output(output))

        # What a person has approved is an effect: it is not done again where nobody knows.
        once = ctx.is_tool_approved(ctx.tool_name, call_id) is True
        fingerprint = tool_fingerprint(self._name, arguments, call_id)
        name = call_name("tool", self._name)
        answer = await call_within(within, name, perform, fingerprint=fingerprint, once=once)
        return answer.value


def _step_tool(tool: Any) -> Any:
    if not isinstance(tool, SDK.FunctionTool):
        if type(tool).__name__ in _HOSTED:
            return tool
        raise ConfigurationError(
            f"{type(tool).__name__} cannot be made durable: what it does would be done again in "
            "each attempt. Make it a function tool."
        )
    if isinstance(tool.on_invoke_tool, _StepTool):
        return tool
    own = copy.copy(tool)
    if (heard := getattr(own.on_invoke_tool, "_on_handled_error", None)) is not None:
        own.on_invoke_tool._on_handled_error = _passing(heard)  # noqa: SLF001 - has no other door
    if callable(own.needs_approval):
        own.needs_approval = _policy(own)
    own.on_invoke_tool = _StepTool(own, journaled=not own._is_agent_tool)  # noqa: SLF001 - likewise
    return own


def _passing(heard: Callable[..., None]) -> Callable[..., None]:
    """Have an error of the step's own fail the step, instead of being told to the model."""

    def hear(tool: Any, error: Exception, *rest: Any) -> None:
        if (known := known_error(error)) is not None:
            raise known
        heard(tool, error, *rest)

    return hear


def _policy(tool: Any) -> Callable[..., Any]:
    """A tool's rule for approvals, which the SDK asks only about arguments that stay as they are.

    It sees that by the tool's own invoker, which is another one now.
    """
    rule, prepare = tool.needs_approval, getattr(tool.on_invoke_tool, "prepare_arguments", None)

    async def wanted(context: Any, parameters: dict[str, Any], call_id: str) -> bool:
        prepared = prepare and prepare(json.dumps(parameters), tool.name)
        if prepared is not None and not prepared.unchanged:
            return True
        said = rule(context, parameters, call_id)
        return bool(await said if inspect.isawaitable(said) else said)

    return wanted


class Durable:
    """Makes agents durable, with all that they hand over to; each once.

    Args:
        prices: of the models that they have.
        output: the form of the answer, instead of their own.
    """

    def __init__(self, prices: Prices, output: Any = None) -> None:
        self._prices = prices
        self._output = output
        self._known: dict[int, tuple[Any, Any]] = {}  # with the original, whose id stays its own

    def agent(self, agent: Any) -> Any:
        """The agent as one whose acts are journaled calls.

        Raises:
            ConfigurationError: it has what cannot be played again.
        """
        if getattr(agent, _MARK, False):
            return agent
        if (known := self._known.get(id(agent))) is not None:
            return known[1]
        if agent.mcp_servers:
            raise ConfigurationError(
                f"The MCP servers of the agent {agent.name!r} cannot be made durable: give it "
                "their tools as function tools."
            )
        own = agent.clone()
        setattr(own, _MARK, True)
        self._known[id(agent)] = (agent, own)
        if isinstance(agent.model, SDK.Model):
            own.model = step_model(agent.model, self._prices)
        if self._output is not None:
            own.output_type = self._output
        own.tools = [_step_tool(tool) for tool in agent.tools]
        own.handoffs = [self._handoff(one) for one in agent.handoffs]
        return own

    def _handoff(self, one: Any) -> Any:
        if not isinstance(one, SDK.Handoff):
            return self.agent(one)
        own, invoke = copy.copy(one), one.on_invoke_handoff

        async def on_invoke(ctx: Any, arguments: str) -> Any:
            return self.agent(await invoke(ctx, arguments))

        own.on_invoke_handoff = on_invoke
        return own


_MARK = "_acts_are_calls"


class _StepSession:
    """A session of the SDK that is kept here: what it is asked, and is given, once."""

    def __init__(self, inner: Any) -> None:
        if _SERVERS & {kind.__name__ for kind in type(inner).__mro__}:
            raise ConfigurationError(_KEPT_THERE.format(type(inner).__name__))
        self._inner = inner
        self.session_id = inner.session_id
        self.session_settings = getattr(inner, "session_settings", None)

    async def get_items(self, limit: int | None = None) -> Any:
        """The conversation, as the first attempt has read it."""
        return await self._call("get_items", limit)

    async def add_items(self, items: list[Any]) -> None:
        """Add to it."""
        await self._call("add_items", items)

    async def pop_item(self) -> Any:
        """Take the last item."""
        return await self._call("pop_item")

    async def clear_session(self) -> None:
        """Empty it."""
        await self._call("clear_session")

    async def _call(self, name: str, *about: Any) -> Any:
        within, act = CURRENT.get(), getattr(self._inner, name)
        if within is None:
            return await act(*about)

        async def perform(_: str) -> Answer:
            return Answer(value=told(await act(*about)))

        fingerprint = digest([name, self.session_id, told(about)])
        named = call_name("session", f"{self.session_id}.{name}")
        return (await call_within(within, named, perform, fingerprint=fingerprint)).value


class StepRunner(SDK.run.AgentRunner):
    """Runs agents as the SDK does; within a step as durable ones.

    Args:
        prices: of models, where whoever runs an agent says none.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:  # noqa: A002 - the SDK's name
        """Run an agent to its answer, or to what a person is to approve."""
        if CURRENT.get() is None:
            return await super().run(starting_agent, input, **kwargs)
        own = kwargs.get("run_config") is None
        agent, about = self._durable(starting_agent, kwargs)
        try:
            return await super().run(agent, input, **about)
        finally:
            if own:
                await about["run_config"].model_provider.aclose()

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:  # noqa: A002 - likewise
        """Begin to run an agent; its events tell each answer of a model as a whole."""
        if CURRENT.get() is not None:
            starting_agent, kwargs = self._durable(starting_agent, kwargs)
        return super().run_streamed(starting_agent, input, **kwargs)

    def _durable(self, agent: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """An agent, and how it is run, so that its acts are journaled calls."""
        if (name := asks_server(kwargs)) is not None:
            raise ConfigurationError(_KEPT_THERE.format(name))
        config = kwargs.get("run_config") or SDK.RunConfig()
        if isinstance(config, Mapping):
            config = SDK.RunConfig(**config)
        provider = config.model_provider
        if not isinstance(provider, StepProvider):
            config = copy.copy(config)
            config.model_provider = provider = StepProvider(provider, self._prices)
        if isinstance(config.model, SDK.Model):
            config = copy.copy(config)
            config.model = step_model(config.model, provider.prices)
        about = {**kwargs, "run_config": config}
        session = kwargs.get("session")
        if session is not None and not isinstance(session, _StepSession):
            about["session"] = _StepSession(session)
        return Durable(provider.prices).agent(agent), about


def install(price: Price | None = None) -> None:
    """Have the SDK's ``Runner`` run agents as durable ones in the code of steps."""
    SDK.run.set_default_agent_runner(StepRunner(Prices(price, "durable_runner(price={})")))


if not isinstance(SDK.run.get_default_agent_runner(), StepRunner):
    install()
