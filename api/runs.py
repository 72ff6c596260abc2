"""Runs as the API shows them, wherever they are: in the journal, or only accepted yet."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from api.problems import not_found
from api.services import Services
from app.access.permissions import Principal
from celery_agents import names
from celery_agents.client.waiting import Meta
from celery_agents.contracts.base import Id
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.transport import headers_of
from celery_agents.values import KNOWN
from celery_agents.wire.messages import Message

RunId = Annotated[Id, Path(description="The id of a run.")]
#: The state of a run that no worker has begun.
QUEUED = "queued"


async def find(services: Services, who: Principal, run_id: str) -> dict[str, Any]:
    """A run as a tree of steps; of one that no worker has begun its id alone.

    Raises:
        ProblemError: there is none, or it is another tenant's (404).
    """
    tree = await services.read(services.desk.run, run_id)
    if tree is None:
        tree = await _refused(services, run_id)
    if tree is None:
        record = headers_of(await services.redis.hget(names.INTAKE_RECORDS, run_id))
        if record:
            tree = {
                "id": run_id,
                "state": QUEUED,
                "task": record.get("task"),
                "tenant": record.get(names.TENANT) or "",
                "steps": [],
            }
        else:  # its record goes once it has a row: that may have been in between
            tree = await services.read(services.desk.run, run_id)
    if tree is None or not who.sees(tree["tenant"]):
        raise not_found(f"run {run_id}")
    return tree


async def _refused(services: Services, run_id: str) -> dict[str, Any] | None:
    """A run that a worker did not take: it has a result, and never had a row."""
    meta = await services.endings.look(run_id)
    if meta is None or meta["status"] == "SUCCESS" or meta.get("outcome") is not None:
        return None
    about: dict[str, Any] = {
        "id": run_id,
        "state": State.FAILED.value,
        "error": _error(meta),
        "steps": [],
    }
    return {**about, "tenant": meta.get(names.TENANT) or ""}


def _error(meta: Meta) -> dict[str, Any] | None:
    """The error of a result, as steps have theirs."""
    error = (meta.get("outcome") or {}).get("error")
    if error is None and isinstance(found := meta["result"], BaseException):
        error = ErrorInfo.of(found).model_dump()
    return error and {"kind": error["kind"], "message": error["message"]}


def outcome_of(meta: Meta) -> Outcome:
    """How a run ended, by its result."""
    done = meta["status"] == "SUCCESS"
    state = State.SUCCEEDED if done else State.FAILED
    told = meta.get("outcome") or {"state": state, "error": _error(meta)}
    value = meta["result"] if done else None
    return Outcome.model_validate({**told, "value": value}, context=KNOWN)


def outcome_of_tree(tree: dict[str, Any]) -> Outcome | None:
    """How a run ended, by the journal; None while it has not."""
    if tree["state"] == QUEUED or not State(tree["state"]).final:
        return None
    if tree.get("finished_at") is None and "error" not in tree:
        return None
    root: dict[str, Any] = next((s for s in tree["steps"] if s["id"] == tree["id"]), {})
    found = {
        "value": root.get("value"),
        "error": tree.get("error") or root.get("error"),
        "usage": tree.get("usage") or root.get("usage"),
    }
    told = {name: value for name, value in found.items() if value is not None}
    return Outcome.model_validate({"state": tree["state"], **told}, context=KNOWN)


def of_tree(tree: dict[str, Any], *, values: bool) -> dict[str, Any]:
    """A run of the journal, with its own answer; with ``values`` those of its steps, too."""
    root: dict[str, Any] = next((s for s in tree["steps"] if s["id"] == tree["id"]), {})
    error = tree.get("error") or root.get("error")
    told = {**tree, "value": root.get("value"), "error": error}
    if not values:
        told["steps"] = [{k: v for k, v in s.items() if k != "value"} for s in tree["steps"]]
    return told


def queued(message: Message) -> dict[str, Any]:
    """A run that was just accepted."""
    return {"id": message.id, "state": QUEUED, "task": message.task, "tenant": message.tenant}


def of_meta(message: Message, meta: Meta) -> dict[str, Any]:
    """A run that has ended, by its result."""
    told: dict[str, Any] = meta.get("outcome") or {}
    done = meta["status"] == "SUCCESS"
    return {
        **queued(message),
        "state": told.get("state", "succeeded" if done else "failed"),
        "usage": told.get("usage"),
        "value": meta["result"] if done else None,
        "error": _error(meta),
    }
