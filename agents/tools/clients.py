"""Tools that ask the program which had them called: a form for its user, a turn of its model.

The program says with the call what it can be asked. Each question is a member of the step that
waits for the answer, as a person's approval does: it holds no worker, and survives every crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

from agents.plan import Member
from agents.values import digest
from celery_agents import names
from celery_agents.contracts.approval import ADMINS, CLIENT, ClientRequest, exactly
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import ClientLacksError, ConfigurationError

#: What the client of the call that runs can be asked: ``elicitation``, ``sampling``, ``roots``.
CLIENT_ASKS: ContextVar[tuple[str, ...]] = ContextVar("client_asks", default=())
#: The client, as an audit names it; None: whoever may approve runs answers for it.
CLIENT_IS: ContextVar[str | None] = ContextVar("client_is", default=None)


@runtime_checkable
class AsksClient(Protocol):
    """A step that can wait for the answer of a client."""

    async def ask_client(self, request: ClientRequest) -> JsonValue:
        """Wait for it."""
        ...


async def ask_client(
    step: Any, key: str, method: str, params: Mapping[str, JsonValue] | None
) -> JsonValue:
    """The answer of the client to a request of the protocol.

    Raises:
        ClientLacksError: it cannot be asked that.
        ConfigurationError: nobody can be asked here.
    """
    request = ClientRequest.of(key, method, dict(params or {}))
    if request.capability not in CLIENT_ASKS.get():
        told = f"The client that called cannot be asked for {request.capability}."
        raise ClientLacksError(told, {"capability": request.capability})
    if not isinstance(step, AsksClient):
        raise ConfigurationError("A client is asked by tools of workers alone.")
    return await step.ask_client(request)


def question(request: ClientRequest, within: tuple[str, ...], times: int) -> Member:
    """The member that waits for the answer: the same in each attempt."""
    told: dict[str, Any] = {
        "asks": CLIENT,
        "question": request.words,
        "request": request.model_dump(mode="json"),
    }
    if (client := CLIENT_IS.get()) is not None:
        told["by"] = [exactly(client), ADMINS]
    about = digest([within[:1], told])
    key = f"@client/{about}.{times}"
    return Member(key=key, task=names.APPROVAL, input=told, options={}, waits=True)
