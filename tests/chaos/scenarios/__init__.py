"""The scenarios. Importing this package registers them; another one is another function."""

from tests.chaos.scenarios import (  # isort: skip
    load,
    takeover,
    brokers,
    journals,
    messages,
    beats,
    workers,
    sagas,
    journeys,
    talks,
    teams,
    approvals,
    waits,
    slots,
    budget,
    races,
)

__all__ = [
    "approvals",
    "beats",
    "brokers",
    "budget",
    "journals",
    "journeys",
    "load",
    "messages",
    "races",
    "sagas",
    "slots",
    "takeover",
    "talks",
    "teams",
    "waits",
    "workers",
]
