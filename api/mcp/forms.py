"""Forms that ask a person what a run waits for, and their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from api.problems import ProblemError
from celery_agents.contracts.approval import CLIENT, refusal
from celery_agents.values import mended
from celery_agents.visible import visible

#: Characters of a message; of one that has more keys than fit there.
_MESSAGE_MAX, _KEYS_MAX = 4_000, 20_000
#: Characters of each text in a longer value, and items of each list: the first that fit.
_ROOMS = ((1_000, 100), (300, 30), (100, 10), (40, 4))
_BOOLEAN = {"type": "boolean", "title": "Allow it?"}
_REASON = {"type": "string", "title": "Why not", "maxLength": 1_000}


def form_of(wish: Mapping[str, Any]) -> dict[str, Any]:
    """The request that asks a person what a wish waits for; a tool's is told as it is."""
    if wish.get("asks") == CLIENT:
        return {name: mended(wish["request"][name]) for name in ("method", "params")}
    if _is_yes_or_no(wish):
        properties: dict[str, Any] = {"approve": _BOOLEAN, "reason": _REASON}
    else:
        choices = wish.get("choices")
        properties = {"choice": {"type": "string", **({"enum": list(choices)} if choices else {})}}
    required = [next(iter(properties))]
    schema = {"type": "object", "properties": properties, "required": required}
    about = {"mode": "form", "message": _message(wish), "requestedSchema": mended(schema)}
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
        if isinstance(reason, str | None):
            return content["approve"] or refusal(reason or "")
    raise ProblemError(422, "invalid_payload", "That answers no such form.")


def _is_yes_or_no(wish: Mapping[str, Any]) -> bool:
    """Return true of a tool, and of a flow that has no options; a vote is told an option."""
    return wish.get("tool") is not None or (wish.get("asks") == "flow" and not wish.get("choices"))


def _message(wish: Mapping[str, Any]) -> str:
    if wish.get("tool") is not None:
        head, value = f"May {visible(wish['tool'])} be called with ", wish.get("arguments")
        tail = "?"
    else:
        head, value, tail = "", wish.get("question"), ""
        if isinstance(value, str):
            told = visible(value)
            return _told(_cut(told, _MESSAGE_MAX), wish, cut=len(told) > _MESSAGE_MAX)
    whole = _json(value)
    if len(whole) <= _MESSAGE_MAX:
        return _told(f"{head}{whole}{tail}", wish)
    return _told(f"{head}{_shortened(value)}{tail}", wish, cut=True)


def _told(text: str, wish: Mapping[str, Any], *, cut: bool = False) -> str:
    if not cut:
        return text or "A decision is asked for."
    return f"{text} [Cut: GET /waiting has the whole of it, of the run {wish.get('run_id')}.]"


def _shortened(value: Any) -> str:
    """A long value with all of its keys: none is hidden behind the value of another."""
    told = ""
    for most, items in _ROOMS:
        told = _json(_short(value, most, items))
        if len(told) <= _MESSAGE_MAX:
            break
    return _cut(told, _KEYS_MAX)


def _short(value: Any, most: int, items: int) -> Any:
    match value:
        case str():
            return _cut(value, most)
        case list():
            more = [f"… ({len(value) - items:,} more)"] if len(value) > items else []
            return [_short(one, most, items) for one in value[:items]] + more
        case dict():
            return {key: _short(one, most, items) for key, one in value.items()}
    return value


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} characters more)"


def _json(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False))
