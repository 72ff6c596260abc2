"""Errors as JSON-RPC has them: what is told to clients, and what only the log has."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS
from pydantic import ValidationError
from redis.exceptions import RedisError

from api.problems import ProblemError, of_agents
from celery_agents.errors import AgentsError, BrokerUnavailableError, redact
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Errors of this server: JSON-RPC leaves -32000 to -32099 to servers.
REFUSED, UNSERVED = -32003, -32004
#: A resource that there is not, up to 2025-11-25: later it is one of the invalid parameters.
NO_RESOURCE = -32002


async def told(ctx: Any, call_next: Any) -> Any:
    """Middleware: have a message answered, or tell its sender as much of an error as is his.

    Raises:
        MCPError: it was refused, or failed.
    """
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):  # the latter is told without what was sent
        raise
    except ProblemError as error:
        raise refused(error) from None
    except AgentsError as error:
        raise refused(of_agents(error)) from None
    except (RedisError, OSError) as error:
        note(log, "mcp_redis", "A message was refused: Redis does not answer", error=error)
        raise refused(of_agents(BrokerUnavailableError())) from None
    except Exception as error:  # noqa: BLE001 - the log has it, under an id
        raise _unknown(error) from None


def refused(error: ProblemError) -> MCPError:
    """A problem as JSON-RPC's error, with its kind and status for programs."""
    code = REFUSED
    if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT):
        code = INVALID_PARAMS
    elif error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code = UNSERVED
    about: dict[str, Any] = {"kind": error.kind, "status": error.status}
    if (after := error.headers.get("Retry-After")) is not None:
        about["retryAfter"] = int(after)
    return MCPError(code, error.detail, about)


def _unknown(error: Exception) -> MCPError:
    seen_as = uuid4().hex[:12]
    log.error("A message failed [%s]: %s", seen_as, redact(f"{type(error).__name__}: {error}"))
    note(log, "mcp_error", "A message failed", error=error, trace=True)
    text = f"Something went wrong here; the server's log says what [{seen_as}]."
    return MCPError(INTERNAL_ERROR, text, {"kind": "internal", "id": seen_as})
