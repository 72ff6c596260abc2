"""Which refusals for too much use (HTTP 429) do not pass by waiting.

Providers answer 429 to three different things: too many requests at once, a quota of the day or
month that is used up, and an account without credit. The first passes within minutes. The others
come again with each try, so they are told to people instead. Each provider says it in words of its
own; most repeat OpenAI's or Google's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: ``code`` or ``type`` of an error that only a payment or a setting of the account ends.
_ACCOUNT = frozenset(
    {
        "access_terminated",
        "account_deactivated",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "budget_exceeded",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_quota",
    }
)
_LONG = re.compile(
    r"(?:by|per)[ _-]?(?:day|month)|\b(?:daily|monthly)\b|\b[RT]PD\b|\bper 86,?400\b", re.IGNORECASE
)
_SHORT = re.compile(r"(?:by|per)[ _-]?(?:sec|min|hour)|\b(?:[RT]|IT|OT)P[SM]\b", re.IGNORECASE)
_MONEY = re.compile(
    r"insufficient (?:quota|balance|credits?|funds)|\bspend(?:ing)? (?:limit|cap)\b"
    r"|\bcredits?(?: balance)? (?:is|are|has been|have been) (?:too low|depleted|exhausted|used)"
    r"|\blimit:? 0(?![.\d])",
    re.IGNORECASE,
)
#: OpenAI says it of an account without credit, Google of each of its limits, with a time to wait.
_CURRENT = re.compile(r"exceeded your current quota", re.IGNORECASE)


def is_lasting(body: Any, *, wait_told: bool) -> bool:
    """Return whether the refusal with this body (JSON or text) comes again however long one waits.

    ``wait_told``: it says when to come again.
    """
    fields = list(_fields(body))
    if any(name in {"code", "type"} and str(value) in _ACCOUNT for name, value in fields):
        return True
    limits = [str(value) for name, value in fields if name in {"quotaId", "quota_limit"}]
    if any(_LONG.search(limit) for limit in limits):
        return True
    text = " ".join(str(value) for _, value in fields)
    if _MONEY.search(text):
        return True
    if any(_SHORT.search(limit) for limit in limits) or _SHORT.search(text):
        return False
    return bool(_LONG.search(text) or (_CURRENT.search(text) and not wait_told))


def _fields(body: Any, name: str = "", depth: int = 8) -> Iterator[tuple[str, Any]]:
    """The plain values of an error's body with their names, down to a depth."""
    if not isinstance(body, dict | list):
        yield name, body
    elif depth:
        items = body.items() if isinstance(body, dict) else ((name, item) for item in body)
        for inner, value in items:
            yield from _fields(value, inner, depth - 1)
