"""Short tasks about verdicts, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.execution import learning
from app.execution.runtime import runtime_of
from app.maintenance.acts import recorded
from celery_agents import names
from celery_agents.contracts.base import id_of, tenant_of
from celery_agents.errors import InvalidPayloadError


@shared_task(name=names.VERDICT, bind=True, acks_late=True)
def verdict(self: Any, run_id: str, right: bool, answer: str | None = None) -> None:
    """Let the records of voters learn whether a decision was right, or which answer was."""
    of = id_of(run_id)
    if type(right) is not bool or not isinstance(answer, str | None):
        raise InvalidPayloadError("A verdict is true or false, with the right answer as a text.")
    journal = recorded(self, "run.verdict", of, right=right).journal
    learning.judge_decision(journal, of, self.request.id, right=right, answer=answer)


@shared_task(name=names.VOTERS, bind=True)
def voters(self: Any, tenant: str = "") -> dict[str, Any]:
    """The records of a tenant's voters."""
    journal = runtime_of(self.app, self.request.hostname).journal
    return learning.voters(journal, tenant_of(tenant)).compact()
