"""The payload of ``agents.flow``."""

from __future__ import annotations

from celery_agents.contracts.base import Contract, Id, Name, Version
from celery_agents.contracts.patterns import Pattern


class Forked(Contract):
    """A run that a flow takes over: its history up to a command, or to its first failure."""

    of: Id
    after: Name | None = None


class Flow(Pattern):
    """Run the flow of that name on the input.

    A new run takes the newest version that its worker has, unless it says which; it keeps that one
    to its end. Without ``deadline_s`` it may take years.
    """

    flow: Name
    version: Version | None = None
    #: It begins with the history of another run; the input is that one's.
    fork: Forked | None = None
