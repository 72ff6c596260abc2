"""Names on the wire: tasks, queues, headers and Redis keys."""

from __future__ import annotations

ASK = "agents.ask"
FALLBACK = "agents.fallback"
VOTE = "agents.vote"
GATHER = "agents.gather"
CANCEL = "agents.cancel"
APPROVE = "agents.approve"
#: The task name of a row that waits for a person; no worker runs it.
APPROVAL = "agents.approval"
STATUS = "agents.status"
CLEAN = "agents.clean"
PROBE = "agents.probe"

QUEUE = "agents"
#: Short messages that must not wait behind work: cancel, status.
CONTROL_QUEUE = "agents.control"

#: Header of a message whose row stands in the journal: the row, not the message, says what to do.
JOURNALED = "agents_journaled"
#: Header of a message that its producer recorded in the intake.
INTAKE = "agents_intake"

#: Hash id → envelope, and sorted set id by time of recording; written with the message itself.
INTAKE_RECORDS = "agents:intake"
INTAKE_TIMES = "agents:intake:at"

#: Before the name of a circuit breaker: the string with its record.
BREAKERS = "agents:breaker:"
