"""Errors of others' SDKs, which an agent's code let through, as ours."""

from __future__ import annotations

from typing import Any

from agents.invoke import as_ours, note_raised
from agents.net.faults import FailedError, told_error
from celery_agents.errors import AgentFailedError, AgentsError, ProviderUnavailableError, redact

#: Of SDKs and of httpx, for a server that was not reached or did not answer.
_UNREACHED = frozenset({"APIConnectionError", "TransportError"})
_STATUSES = range(400, 600)


def sdk_failure(who: str, error: Exception) -> AgentsError:
    """An error of code that uses SDKs: what the server told, or as of any other code."""
    while isinstance(error, ExceptionGroup):  # of what ran side by side
        error = next(
            (e for e in error.exceptions if isinstance(e, AgentsError)), error.exceptions[0]
        )
    known = as_ours(who, error)
    if not isinstance(known, AgentFailedError):
        return known
    if (told := _told(who, error)) is not None:
        return told
    if _UNREACHED & {kind.__name__ for kind in type(error).__mro__}:
        return ProviderUnavailableError(redact(f"{who}: {type(error).__name__}: {error}"))
    note_raised(who, error)
    return known


def _told(who: str, error: Any) -> AgentsError | None:
    """The error that the status of an SDK's error says; None: it has none."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if not isinstance(status, int) or status not in _STATUSES:
        return None
    headers = getattr(getattr(error, "response", None), "headers", None)
    body = getattr(error, "body", None) or getattr(error, "details", None) or str(error)
    failed = FailedError(body, status=status, headers=headers)
    return told_error(f"{who}: {type(error).__name__}, which", failed, None)
