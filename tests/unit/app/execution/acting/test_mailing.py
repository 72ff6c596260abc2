from __future__ import annotations

from typing import Any

from app.execution.acting.mailing import Postmark, _row
from app.journal.schema.rows import NewStep
from celery_agents import names
from celery_agents.contracts.flows.actors import AddressedMessage, actor_run_id
from celery_agents.contracts.flows.flow import Flow


def test_the_row_of_an_actor_is_that_of_its_flow() -> None:
    """As a request for that would have it, which nobody reads for each message."""
    told = AddressedMessage(actor="Account", key="a", method="add", args=(1,), kwargs={})
    made = _row(told, Postmark("acme", "shop"))
    (about,) = made.payload["args"]
    options: Any = made.payload["kwargs"]
    request = Flow.from_message([about], options)
    run_id = actor_run_id("acme", "Account", "a")
    assert NewStep.of_run(
        request,
        [about],
        options,
        id=run_id,
        task=names.FLOW,
        queue="shop",
        priority=made.priority,
        tenant="acme",
    ) == NewStep(**{n: getattr(made, n) for n in NewStep.__slots__} | {"agent": None})
    assert (made.agent, made.run_id) == ("actor/Account", run_id)
