"""Sessions: conversations that go on over many runs, one exchange after the other."""

from __future__ import annotations

from pydantic import TypeAdapter

from celery_agents.contracts.base import Contract, Name, read_as
from celery_agents.contracts.conversation import ChatMessage

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def session_of(value: object, what: str = "session") -> str:
    """The name of a session.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_NAME, value, what)


class SessionSummary(Contract):
    """Words that stand for the first exchanges of a session where its agent's window is full."""

    text: str
    #: So many exchanges, from the first one on.
    exchanges: int


class SessionExchange(Contract):
    """A question with its answer, and the tools that were called in between."""

    #: Its place in the session, from 0.
    place: int
    #: The run that asked; None where nobody knows.
    run_id: str | None = None
    #: Who answered.
    agent: str | None = None
    #: Who was asked, and who goes on where the same one is asked again: another one, to which the
    #: conversation was handed over.
    asked: str | None = None
    active: str | None = None
    #: Seconds since 1970, when the run ended.
    at: float
    #: What a model would read of it, as estimated.
    tokens: int
    messages: tuple[ChatMessage, ...]
    #: Whether its run, or one that it was told of, had read what others wrote.
    untrusted: bool = False
    #: The one that its agent was told in place of older exchanges.
    summary: SessionSummary | None = None


class SessionInfo(Contract):
    """A session as lists show it."""

    name: str
    tenant: str = ""
    #: The number of its exchanges.
    exchanges: int
    created_at: float
    #: When its last exchange was added.
    changed_at: float
    #: The run that adds the next one, while it is under way.
    holder: str | None = None
