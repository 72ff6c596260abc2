"""Telling somebody by HTTP how a run has ended.

A receiver is told at least once: whoever dies between its answer and the row's end tells it again,
under the same id and with the same body, by which it knows that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from agents.net.clients import SharedClients, secret_named
from agents.net.faults import retry_after_s
from agents.net.outside import PrivateHosts, outside_client
from agents.net.signing import keys_of, signed
from app.concurrency.fibers import in_thread
from app.execution.context import Step
from app.execution.runtime import Runtime
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State
from celery_agents.contracts.patterns import Delivery
from celery_agents.errors import (
    AgentsError,
    InvalidPayloadError,
    JournalUnavailableError,
    PermanentError,
    ProviderUnavailableError,
    RateLimitedError,
    StepDeadError,
)
from celery_agents.noted import note
from celery_agents.wire.messages import to_json

log = logging.getLogger(__name__)

#: Seconds for one delivery: what the specification advises.
LIMIT_S = 15.0
#: A receiver that let us wait so long without an answer is told one thing at a time.
_LATER_S = 10.0
_CLIENT = "webhooks"


class Webhooks:
    """The deliveries of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._journal = runtime.journal
        self._clients = SharedClients(in_thread)
        self._private = PrivateHosts.of(runtime.settings.private_hosts)
        self._asking = Counter[str]()
        self._silent: set[str] = set()

    async def deliver(self, step: Step, request: Delivery) -> Answer | Outcome:
        """Tell a receiver, once; dead when nobody will try again.

        Raises:
            InvalidPayloadError: somebody asks for it who may not.
            RetryableError: it comes again.
        """
        if step.run_id == step.step_id:
            raise InvalidPayloadError("A webhook is sent when a run ends; nobody can ask for it.")

        async def perform(_: str) -> Answer:
            return Answer(value={"status": await self._tell(step, request)})

        try:
            self._look(urlsplit(request.to.url).netloc)
            return await step.call("webhook", perform)
        except JournalUnavailableError:
            raise
        except AgentsError as error:
            if error.retryable and not step.over:
                raise
            note(log, "webhook_dead", "%s was not told of %s", "A receiver", step.run_id)
            text = f"Given up after {step.attempt} attempts. The last: {error}"
            return Outcome(state=State.DEAD, error=ErrorInfo.of(StepDeadError(text)))

    def _look(self, where: str) -> None:
        """Leave a receiver alone while it lets us wait: it would take a slot for each delivery.

        Raises:
            RateLimitedError: it does.
        """
        if where in self._silent and self._asking[where]:
            told = {"retry_after_s": _LATER_S}
            raise RateLimitedError(f"{where} lets another webhook wait.", told)

    async def _tell(self, step: Step, request: Delivery) -> int:
        body = await self._body(step, request)
        name = self._settings.webhook_secret(request.to.secret)
        secrets = secret_named(name, self._settings.secret, purpose="A webhook")
        headers = signed(
            keys_of(secrets, step.tenant, named=name), step.step_id, int(time.time()), body
        )
        where = urlsplit(request.to.url).netloc
        self._asking[where] += 1
        try:
            async with asyncio.timeout(LIMIT_S):
                status = await self._post(request.to.url, headers, body)
            self._silent.discard(where)
        except TimeoutError:
            self._silent.add(where)
            text = f"{where} did not answer within {LIMIT_S:g} s."
            raise ProviderUnavailableError(text) from None
        finally:
            self._asking[where] -= 1
            if not self._asking[where]:
                del self._asking[where]
        return status

    async def _body(self, step: Step, request: Delivery) -> bytes:
        """The same bytes each time: what was written down, and the answer from its own row."""
        event: dict[str, Any] = dict(request.event)
        if request.to.value and event["type"] == f"run.{State.SUCCEEDED}":
            _, value = await in_thread(self._journal.undoing.told, step.run_id)
            event["data"] = {**event["data"], "value": value}
        return to_json(event).encode()

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        httpx2 = await self._clients.load("httpx2", extra="http")
        client = self._clients.get(_CLIENT, lambda: outside_client(httpx2, self._private))
        about = {**headers, "Content-Type": "application/json", "User-Agent": "celery-agents"}
        where = urlsplit(url).netloc
        try:
            async with client.stream("POST", url, content=body, headers=about) as response:
                status, told = int(response.status_code), response.headers
        except httpx2.InvalidURL:
            raise PermanentError(f"{where} is no host.") from None
        except httpx2.RequestError as error:
            text = f"{where} is not available: {type(error).__name__}"
            raise ProviderUnavailableError(text) from None
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return status
        text = f"{where} answered HTTP {status}."
        if status == HTTPStatus.GONE:  # by the specification: nobody is there any more
            raise PermanentError(text)
        after = retry_after_s(told)
        raise ProviderUnavailableError(text, None if after is None else {"retry_after_s": after})


def deliveries(runtime: Any) -> Webhooks:
    """Those of a process, made when it first has one."""
    made: Webhooks = runtime.resource(Webhooks, lambda: Webhooks(runtime))
    return made
