"""One connection to one server, of one process: one task enters and leaves all that belongs to it.

The SDK's contexts must be left by the task that entered them. So a step never holds one: it asks
for the client, and its calls are made in tasks of their own, which a step's cancellation ends.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import Client, MCPError
from mcp.types import Implementation

from agents.policies.breaker import Breaker, Verdict, ask, tell
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.mcp.forms import answering
from agents.toolsets.mcp.opening import MISSING, ServerWay
from celery_agents.errors import (
    AgentsError,
    BreakerOpenError,
    ConfigurationError,
    ProviderUnavailableError,
)

#: Seconds that closing may take: the SDK waits two for a program to end by itself, then tells it
#: to, then kills it.
_CLOSE_S = 8.0
_OURS = Implementation(name="celery-agents", version="0")


@dataclass(eq=False)
class _Session:
    """A connection as long as it lasts."""

    number: str
    ready: asyncio.Future[Client] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    #: Set when it is to end, or has ended.
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    scope: anyio.CancelScope | None = None
    task: asyncio.Task[None] | None = None
    client: Client | None = None
    late: bool = False

    def give_up(self) -> None:
        """End it, also while it is being opened."""
        self.gone.set()
        if not self.ready.done() and self.scope is not None:
            self.scope.cancel()


class ServerSupervisor:
    """Opens a connection when it is asked for one, and another after the last one went."""

    def __init__(self, name: str, entry: McpTools, way: ServerWay) -> None:
        self._name, self._entry, self._way = name, entry, way
        self._session: _Session | None = None
        self._breaker = Breaker()
        self._opened = 0

    async def client(self) -> Client:
        """The client of a connection that is there.

        Raises:
            BreakerOpenError: it could not be reached too often, and is not asked for now.
            ProviderUnavailableError: it cannot be reached.
            ConfigurationError: of what its entry says something is missing.
        """
        session = self._session
        if session is None or session.gone.is_set():
            session = self._begun()
        return await asyncio.shield(session.ready)

    def lost(self, client: Client, *, failed: bool) -> None:
        """Say that a call found the connection broken: the next one gets another."""
        session = self._session
        if session is not None and session.client is client:
            session.gone.set()
            if failed:
                self._tell(session, Verdict.BAD)

    async def aclose(self) -> None:
        """End the connection, and its program."""
        session = self._session
        if session is None or session.task is None:
            return
        session.give_up()
        await asyncio.wait([session.task], timeout=_CLOSE_S)

    def _begun(self) -> _Session:
        self._opened += 1
        number = str(self._opened)
        admission = ask(self._entry.breaker, self._breaker, _now_ms(), number)
        self._breaker = admission.breaker
        if admission.wait is not None:
            raise BreakerOpenError(
                f"The MCP server {self._name!r} failed too often and is not asked for "
                f"{admission.wait / 1000:.1f} s.",
                {"retry_after_s": admission.wait / 1000},
            )
        session = self._session = _Session(number)
        session.task = asyncio.create_task(self._supervise(session), name=f"mcp:{self._name}")
        return session

    async def _supervise(self, session: _Session) -> None:
        error: BaseException | None = None

        def late() -> None:
            session.late = True
            session.give_up()

        timer = asyncio.get_running_loop().call_later(self._entry.connect_timeout_s, late)
        try:
            with anyio.CancelScope() as session.scope:
                opened: Any = self._way.open(session.gone)
                forms = answering(self._entry)
                async with Client(opened, client_info=_OURS, elicitation_callback=forms) as client:
                    timer.cancel()
                    # What a tool promises of its results is between its server and others: a
                    # model is told them as they are.
                    client.session.validate_tool_result = _as_it_is  # type: ignore[method-assign]
                    self._tell(session, Verdict.GOOD)
                    session.client = client
                    session.ready.set_result(client)
                    await session.gone.wait()
        except Exception as raised:  # noqa: BLE001 - told to whoever waits for the connection
            error = raised
        finally:
            timer.cancel()
            session.gone.set()
            if not session.ready.done():
                failure = self._failure(session, error)
                # What is missing here says nothing of the server.
                here = isinstance(failure, ConfigurationError)
                self._tell(session, Verdict.NONE if here else Verdict.BAD)
                session.ready.set_exception(failure)
                session.ready.exception()  # nobody may wait for it any more

    def _failure(self, session: _Session, error: BaseException | None) -> AgentsError:
        who = f"The MCP server {self._name!r}"
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, AgentsError):
            return error
        if session.late:
            limit = self._entry.connect_timeout_s
            return ProviderUnavailableError(f"{who} was not there within {limit:g} s.")
        if error is None:
            return ProviderUnavailableError(f"{who} was closed while it was opened.")
        why = self._way.said(str(error) or type(error).__name__)
        if isinstance(error, MCPError) and error.code == MISSING:
            return ConfigurationError(why)
        return ProviderUnavailableError(f"{who} cannot be used: {why}")

    def _tell(self, session: _Session, said: Verdict) -> None:
        policy = self._entry.breaker
        self._breaker = tell(policy, self._breaker, _now_ms(), session.number, said)


async def _as_it_is(name: str, result: Any) -> None:
    """Find nothing wrong with a result."""


def _now_ms() -> int:
    return round(time.monotonic() * 1000)
