"""Payloads of the client's verbs: the contract of each one, by its task."""

from __future__ import annotations

from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback, Vote

REQUESTS: dict[str, type[StepOptions]] = {
    names.ASK: Ask,
    names.FALLBACK: Fallback,
    names.VOTE: Vote,
    names.GATHER: Gather,
    names.MAP: Map,
    names.FLOW: Flow,
}
