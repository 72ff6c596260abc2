"""Looking at agents without asking them anything: a probe costs nothing unless its entry says so.

Functions were imported when this worker started, so they are well. Services and models are well
when their host takes a connection, or their ``health_url`` answers; tasks of other apps when some
worker serves their queue. Only an entry with a ``probe`` is really asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from agents.base import Answer, StepMemory, Turn
from agents.catalog.checks import AnyOf, Check, Connect, Get, Question, Served
from agents.catalog.registry import Registered
from agents.graphs import GraphLines
from agents.net.clients import SharedClients, http_client
from agents.performing import Perform, performed
from agents.threads import InThread, in_thread
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.events import EventType
from celery_agents.contracts.outcome import Outcome, Usage
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import AgentFailedError, ProviderUnavailableError, redact

#: Checks under way at once.
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Probe:
    """The finding of one look at a target."""

    target: str
    error: str | None = None  # None: it is well
    latency_ms: float | None = None


#: Gives the queues that are served; blocks for about a second, so it runs in a thread.
Queues = Callable[[], set[str]]


def checks_of(agents: Iterable[Registered]) -> dict[str, Check | None]:
    """Return the check of each agent and provider; None where there is nothing to check."""
    found: dict[str, Check | None] = {}
    for agent in agents:
        question = agent.entry.probe if agent.entry is not None else None
        found[agent.target] = agent.check if question is None else Question(agent.name, question)
        if agent.provider is not None:
            found[agent.provider.target] = agent.provider.check
    return found


async def probe_agents(
    agents: Iterable[Registered],
    *,
    timeout_s: float,
    queues: Queues,
    in_thread: InThread = in_thread,
) -> list[Probe]:
    """Look at agents and providers, each check once and all at the same time."""
    known = {a.name: a for a in agents}
    checks = checks_of(known.values())
    alone = (c for c in checks.values() if c is not None and not isinstance(c, AnyOf))
    wanted = list(dict.fromkeys(alone))
    served: set[str] = set()
    if any(isinstance(c, Served) for c in wanted):
        served = await in_thread(queues, slow=True)
    limit = asyncio.Semaphore(AT_ONCE)

    async with Pages(in_thread) as pages:

        async def look(check: Check) -> tuple[str | None, float]:
            async with limit:
                began = time.perf_counter()
                error = await _error_of(check, known, served, timeout_s, pages)
                return error, (time.perf_counter() - began) * 1000

        found = dict(zip(wanted, await asyncio.gather(*map(look, wanted)), strict=True))

    def probe(target: str) -> Probe:
        check = checks[target]
        if not isinstance(check, AnyOf):
            return Probe(target, *(found[check] if check is not None else (None, None)))
        inner = [probe(one) for one in check.targets]
        well = next((p for p in inner if p.error is None), inner[0])
        return Probe(target, well.error, well.latency_ms)

    return [probe(target) for target in checks]


async def _error_of(
    check: Check,
    agents: dict[str, Registered],
    served: set[str],
    timeout_s: float,
    pages: Pages,
) -> str | None:
    try:
        async with asyncio.timeout(timeout_s):
            match check:
                case Connect():
                    await _connect(check)
                case Get(url):
                    await pages.look(url)
                case Served(queue):
                    return None if queue in served else f"No worker serves the queue {queue!r}."
                case Question(agent, text):
                    await agents[agent].backend.answer(Turn(input=text), _Apart())
    except TimeoutError:
        return f"No answer within {timeout_s:g} s."
    except Exception as error:  # noqa: BLE001 - whatever it is, the target is not well
        return redact(f"{type(error).__name__}: {error}")
    return None


async def _connect(where: Connect) -> None:
    tls = _any_certificate() if where.tls else None
    _, writer = await asyncio.open_connection(where.host, where.port, ssl=tls)
    writer.transport.abort()


@cache
def _any_certificate() -> ssl.SSLContext:
    """Accept any certificate: nothing is sent. The agents' own clients do check."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Pages:
    """Looks at URLs by one client, made when the first is looked at: its TLS takes a while."""

    def __init__(self, in_thread: InThread) -> None:
        self._clients = SharedClients(in_thread)

    async def look(self, url: str) -> None:
        """Ask, and read the head of the answer alone. Where it leads elsewhere nobody follows.

        Raises:
            ProviderUnavailableError: it answers with an error.
        """
        httpx2 = await self._clients.load("httpx2", extra="http")
        client = self._clients.get(_PAGES, lambda: http_client(httpx2))
        async with client.stream("GET", url) as response:
            if response.is_error:
                raise ProviderUnavailableError(f"It answered HTTP {response.status_code}.")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if (client := self._clients.take(_PAGES)) is not None:
            await client.aclose()


_PAGES = "pages"


class _Apart:
    """A turn that belongs to no step: nothing of it is journaled."""

    def __init__(self) -> None:
        self.step_id = self.run_id = f"probe-{uuid.uuid4()}"
        self.attempt = self.tries = 1

    async def call(
        self,
        name: str,  # noqa: ARG002 - the protocol's
        perform: Perform,
        *,
        fingerprint: str = "",  # noqa: ARG002 - the protocol's
        once: bool = False,  # noqa: ARG002 - the protocol's
        expect: Any = None,  # noqa: ARG002 - the protocol's
        cache: Any = None,  # noqa: ARG002 - an answer of before says nothing of now
    ) -> Answer:
        return await performed("probe", perform, str(uuid.uuid4()))

    async def made(self, name: str, **_: Any) -> bool:  # noqa: ARG002 - the protocol's
        return False

    async def ask(self, agent: str | AgentSpec, input: JsonValue = None, **_: Any) -> JsonValue:  # noqa: A002, ARG002 - the protocol's
        raise AgentFailedError(f"A probe has no step of which {agent} could be a member.")

    async def answered(self) -> dict[str, Outcome]:
        return {}

    async def spent_in_all(self) -> Usage:
        return Usage()

    @property
    def graphs(self) -> GraphLines:
        """Raises AgentFailedError: nothing is kept of a probe."""
        raise AgentFailedError("A probe has no step that could keep a graph's thread.")

    def memory(self, name: str) -> StepMemory:
        """Raises AgentFailedError: as above."""
        raise AgentFailedError(f"A probe has no step that could use the memory {name}.")

    ways = ()

    def did(self, name: str) -> None:
        """Do nothing: nobody learns from it."""

    async def distrust(self) -> None:
        """Do nothing: it remembers nothing."""

    async def untrusted(self, about: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    streamed = False
    spent = Usage()

    def say(self, text: str) -> None:
        """Do nothing: nobody watches."""

    def tell(self, kind: EventType, **data: JsonValue) -> None:
        """Do nothing."""

    def emit(self, stream: str, kind: str, data: Any, *, key: str | None = None) -> None:
        """Do nothing: a look is no step, so nothing is added with its end."""

    async def progress(self, **fields: JsonValue) -> None:
        """Do nothing: nobody watches."""
