"""Runs of swarms: what they were asked, and what has come of it."""

from __future__ import annotations

from celery_agents.client.flows.run import FlowRun
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.teams.swarm import Broadcast, Consensus, WorkDone


class BroadcastRun(FlowRun):
    """A message to all: its value is a :class:`Broadcast`."""

    def read(self, value: JsonValue) -> Broadcast:
        return Broadcast.model_validate(value)


class ConsensusRun(FlowRun):
    """A question to all: its value is a :class:`Consensus`."""

    def read(self, value: JsonValue) -> Consensus:
        return Consensus.model_validate(value)


class WorkRun(FlowRun):
    """Work that is shared: its value is a :class:`WorkDone`."""

    def read(self, value: JsonValue) -> WorkDone:
        return WorkDone.model_validate(value)
