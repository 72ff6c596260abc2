"""``agents.verdicts``: what people say of decisions, and what that says of voters."""

from __future__ import annotations

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import id_of, tenant_of
from celery_agents.contracts.verdicts import VoterRecord, VoterRecords


class Verdicts:
    """Says whether decisions were right, and shows how reliable voters are by that."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def give(
        self, run_id: str, right: bool, *, answer: str | None = None, timeout: float = 10.0
    ) -> None:
        """Say whether the decision of a vote's run was right, or which ``answer`` was.

        The last verdict on a run counts. ``weights="reliability"`` goes by them.

        Raises:
            InvalidPayloadError: there is no such run of a vote that has decided (yet).
        """
        about = (id_of(run_id), right, answer)
        self._control.ask(names.VERDICT, *about, recorded=True).get(timeout=timeout)

    def voters(self, *, tenant: str = "", timeout: float = 10.0) -> dict[str, VoterRecord]:
        """The records of voters, by their agents."""
        asked = self._control.ask(names.VOTERS, tenant_of(tenant))
        return VoterRecords.model_validate(asked.get(timeout=timeout)).voters
