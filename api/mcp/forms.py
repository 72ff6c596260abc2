"""Forms that ask a person what a run waits for, and their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from api.problems import ProblemError
from celery_agents.visible import visible

_MESSAGE_MAX = 4_000
_BOOLEAN = {"type": "boolean", "title": "Allow it?"}
_REASON = {"type": "string", "title": "Why not", "maxLength": 1_000}


def form_of(wish: Mapping[str, Any]) -> dict[str, Any]:
    """The request that asks a person what a wish waits for."""
    if _is_yes_or_no(wish):
        properties: dict[str, Any] = {"approve": _BOOLEAN, "reason": _REASON}
    else:
        choices = wish.get("choices")
        properties = {"choice": {"type": "string", **({"enum": list(choices)} if choices else {})}}
    required = [next(iter(properties))]
    schema = {"type": "object", "properties": properties, "required": required}
    about = {"mode": "form", "message": _message(wish), "requestedSchema": schema}
    return {"method": "elicitation/create", "params": about}


def choice_of(wish: Mapping[str, Any], told: Any) -> Any:
    """The answer that a form came back with.

    Raises:
        ProblemError: it is none (422).
    """
    told = told if isinstance(told, Mapping) else {}
    content = told.get("content")
    content = content if isinstance(content, Mapping) else {}
    accepted = told.get("action") == "accept"
    if not _is_yes_or_no(wish):
        if accepted and isinstance(content.get("choice"), str):
            return content["choice"]
    elif told.get("action") in ("decline", "cancel"):
        return False
    elif accepted and isinstance(content.get("approve"), bool):
        reason = content.get("reason")
        return reason if not content["approve"] and reason else content["approve"]
    raise ProblemError(422, "invalid_payload", "That answers no such form.")


def _is_yes_or_no(wish: Mapping[str, Any]) -> bool:
    """Return true of a tool, and of a flow that has no options; a vote is told an option."""
    return wish.get("tool") is not None or (wish.get("asks") == "flow" and not wish.get("choices"))


def _message(wish: Mapping[str, Any]) -> str:
    if wish.get("tool") is not None:
        arguments = json.dumps(wish.get("arguments"), ensure_ascii=False)
        told = f"May {wish['tool']} be called with {arguments}?"
    else:
        question = wish.get("question")
        told = question if isinstance(question, str) else json.dumps(question, ensure_ascii=False)
    return visible(told)[:_MESSAGE_MAX] or "A decision is asked for."
