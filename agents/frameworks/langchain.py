"""Chat models of LangChain whose requests are journaled calls of the step that sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import copy_context
from functools import cache, partial
from queue import SimpleQueue
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic_core import to_jsonable_python

from agents.current import CURRENT, Current
from agents.frameworks.exchange import call_within
from agents.frameworks.requests import PricedModel, priced_model
from agents.models.config import Price
from agents.models.provider import ModelRequest, Tokens
from agents.models.reading.shapes import count, mapping
from agents.net.sdks import sdk_failure
from agents.values import digest, text_of
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import AgentsError, ConfigurationError

M = TypeVar("M", bound=BaseChatModel)
_NAME_MAX = 200
#: Where the price of a model is said.
_PRICED_BY = "durable_client(…, price={})"
#: Of a message, what a model reads; its id and what was told beside an answer are of one attempt.
_ASKED = ("content", "name", "tool_calls", "tool_call_id", "status", "additional_kwargs")


def durable_model(model: M, price: Price | None) -> M:
    """A copy of a chat model whose requests are calls of the step in whose code they are sent."""
    copy = model.model_copy()
    # The copy's own methods ask, so whatever is made of it (with tools, with a schema) is durable.
    object.__setattr__(copy, "__class__", _durable(type(model), price))
    return copy


@cache
def _durable(kind: type[BaseChatModel], price: Price | None) -> type[BaseChatModel]:
    """The class of durable models of a kind: what asks is overridden, where the kind has it."""
    ways = {
        "_generate": _generate,
        "_agenerate": _agenerate,
        "_stream": _stream,
        "_astream": _astream,
    }
    own = {
        name: way(kind, price)
        for name, way in ways.items()
        if getattr(kind, name) is not getattr(BaseChatModel, name)
    }
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    made: Any = type(kind)  # whatever makes classes of its kind
    durable: type[BaseChatModel] = made(kind.__name__, (kind,), own | names)
    return durable


def _generate(kind: Any, price: Price | None) -> Any:
    def generate(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **about: Any
    ) -> ChatResult:
        plain = partial(kind._generate, self, messages, stop, run_manager, **about)  # noqa: SLF001 - LangChain's door
        if (within := CURRENT.get()) is None:
            return plain()  # type: ignore[no-any-return]
        return _from_thread(within, _Request(self, price, messages, stop, about), plain)

    return generate


def _agenerate(kind: Any, price: Price | None) -> Any:
    async def generate(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **about: Any
    ) -> ChatResult:
        plain = partial(kind._agenerate, self, messages, stop, run_manager, **about)  # noqa: SLF001 - LangChain's door
        if (within := CURRENT.get()) is None:
            return await plain()  # type: ignore[no-any-return]
        return await _Request(self, price, messages, stop, about).result(within, plain)

    return generate


def _stream(kind: Any, price: Price | None) -> Any:
    def stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **about: Any
    ) -> Iterator[ChatGenerationChunk]:
        plain = partial(kind._stream, self, messages, stop, run_manager, **about)  # noqa: SLF001 - LangChain's door
        if (within := CURRENT.get()) is None:
            yield from plain()
            return
        request = _Request(self, price, messages, stop, about)
        yield _as_chunk(_from_thread(within, request, lambda: _merged([*plain()])))

    return stream


def _astream(kind: Any, price: Price | None) -> Any:
    async def stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **about: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        pieces = kind._astream(self, messages, stop, run_manager, **about)  # noqa: SLF001 - as above
        if (within := CURRENT.get()) is not None:
            pieces = _Request(self, price, messages, stop, about).pieces(within, pieces)
        async for piece in pieces:
            yield piece

    return stream


class _Request:
    """One request to a chat model, as a call."""

    def __init__(
        self,
        model: BaseChatModel,
        price: Price | None,
        messages: list[BaseMessage],
        stop: list[str] | None,
        about: dict[str, Any],
    ) -> None:
        told = model._get_ls_params(stop=stop, **about)  # noqa: SLF001 - what LangChain's tracers read
        system, name = str(told.get("ls_provider") or ""), str(told.get("ls_model_name") or "")
        self.name = f"model:{system}/{name}"[:_NAME_MAX]
        params = _plain([model._identifying_params, stop, about])  # noqa: SLF001 - as above
        asked: list[Any] = [
            [m.type, *(_plain(getattr(m, n, None)) for n in _ASKED)] for m in messages
        ]
        self.fingerprint = digest([_name(model), params, asked])
        most = count(mapping(params[0]).get("max_tokens")) or told.get("ls_max_tokens")
        self._asked = ModelRequest(
            model=name, system=None, user=text_of(asked), max_output_tokens=most or None
        )
        self._model: PricedModel = priced_model(system, name, price, _PRICED_BY)
        self._raised: Exception | None = None

    async def result(
        self, within: Current, ask: Callable[[], Coroutine[Any, Any, ChatResult]]
    ) -> ChatResult:
        """The answer, of the journal where an earlier attempt has got it.

        Raises:
            AgentsError: the step may not ask.
            Exception: whatever the model raised.
        """

        async def perform(_: str) -> Answer:
            try:
                told = await _alone(ask)
            except AgentsError:
                raise
            except Exception as error:
                self._raised = error
                raise sdk_failure(self.name, error) from error
            return Answer(value=_kept(told), usage=await self._usage(told))

        about: Any = {"fingerprint": self.fingerprint, "expect": self._model.expect(self._asked)}
        try:
            answer = await call_within(within, self.name, perform, **about)
        except AgentsError:
            if self._raised is None:
                raise
            raise self._raised from None  # as code expects it that catches it
        return _read(answer.value)

    async def pieces(
        self, within: Current, live: AsyncIterator[ChatGenerationChunk]
    ) -> AsyncIterator[ChatGenerationChunk]:
        """The same as it comes; what the journal knows comes in one piece."""
        come: asyncio.Queue[ChatGenerationChunk | None] = asyncio.Queue()

        async def ask() -> ChatResult:
            found = []
            async for piece in live:
                found.append(piece)
                come.put_nowait(piece)
            return _merged(found)

        call = asyncio.ensure_future(self.result(within, ask))
        call.add_done_callback(lambda _: come.put_nowait(None))
        known = True
        try:
            while (piece := await come.get()) is not None:
                known = False
                yield piece
            told = await call
        finally:
            if not call.done():  # nobody reads on: it is no answer
                call.cancel()
                await asyncio.wait({call})
        if known:
            yield _as_chunk(told)

    async def _usage(self, told: ChatResult) -> Any:
        return await self._model.usage(self._asked, _tokens(told))


def _from_thread(within: Current, request: _Request, ask: Callable[[], ChatResult]) -> ChatResult:
    """The answer for code in a thread, which asks in that thread: others may all be waiting."""
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is within.loop:
        raise ConfigurationError(
            f"{request.name}: invoke() would stop all that runs here; await ainvoke(), or ask in a "
            "function that is not asynchronous."
        )

    wanted = SimpleQueue[asyncio.Future[ChatResult] | None]()

    async def asked() -> ChatResult:
        told = within.loop.create_future()
        wanted.put(told)
        return await told  # type: ignore[no-any-return]

    reply = asyncio.run_coroutine_threadsafe(request.result(within, asked), within.loop)
    reply.add_done_callback(lambda _: wanted.put(None))
    while (told := wanted.get()) is not None:
        try:
            end = partial(_settle, told, copy_context().run(_asked_alone, ask), None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            end = partial(_settle, told, None, error)
        within.loop.call_soon_threadsafe(end)
    return reply.result()


async def _alone(ask: Callable[[], Coroutine[Any, Any, ChatResult]]) -> ChatResult:
    """Ask as code of no step: what a model asks on the way to its answer is no call of its own."""
    before = CURRENT.set(None)
    try:
        return await ask()
    finally:
        CURRENT.reset(before)


def _asked_alone(ask: Callable[[], ChatResult]) -> ChatResult:
    CURRENT.set(None)  # in a copy of the context
    return ask()


def _settle(told: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if told.done():  # its step was stopped meanwhile
        return
    if error is None:
        told.set_result(value)
    else:
        told.set_exception(error)


def _plain(value: Any) -> Any:
    """A JSON value that is the same in each process; a class by its name."""
    return to_jsonable_python(value, bytes_mode="base64", fallback=_name)


def _name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _kept(told: ChatResult) -> Any:
    """An answer as the journal keeps it."""
    return {"messages": [_plain(message_to_dict(g.message)) for g in told.generations]}


def _read(kept: Any) -> ChatResult:
    messages = messages_from_dict(kept["messages"])
    return ChatResult(generations=[ChatGeneration(message=m) for m in messages])


def _merged(pieces: list[ChatGenerationChunk]) -> ChatResult:
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return ChatResult(generations=[ChatGeneration(message=whole.message)])


def _as_chunk(told: ChatResult) -> ChatGenerationChunk:
    message = told.generations[0].message
    if not isinstance(message, AIMessageChunk):
        about = {n: v for n, v in message.model_dump().items() if n != "type"}
        message = AIMessageChunk(**about)
    return ChatGenerationChunk(message=message)


def _tokens(told: ChatResult) -> Tokens | None:
    """The tokens that answers tell: those of a cache are told among the others."""
    messages: list[Any] = [generation.message for generation in told.generations]
    used = [mapping(message.usage_metadata) for message in messages if _says(message)]
    if not used:
        return None
    details = [mapping(one.get("input_token_details")) for one in used]
    read = sum(count(one.get("cache_read")) or 0 for one in details)
    written = sum(count(one.get("cache_creation")) or 0 for one in details)
    sent = sum(count(one.get("input_tokens")) or 0 for one in used)
    given = sum(count(one.get("output_tokens")) or 0 for one in used)
    return Tokens(sent, given, read, written)


def _says(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and bool(message.usage_metadata)
