"""Messages before the SDK has them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from api.mcp import routes
from api.problems import ProblemError


@pytest.mark.parametrize("told", [{"method": "ping", "id": 1}, {"id": "celery-agents/ask/a/b/c"}])
def test_without_the_sdk_an_answer_is_refused_as_all_else_is(told: dict[str, Any]) -> None:
    async def ready() -> None:
        raise ProblemError(501, "not_installed", "MCP is not served here.")

    async def body() -> bytes:
        return json.dumps({"jsonrpc": "2.0", "result": {}, **told}).encode()

    state = SimpleNamespace(mcp=SimpleNamespace(ready=ready))
    request: Any = SimpleNamespace(headers={}, body=body, app=SimpleNamespace(state=state))
    with pytest.raises(ProblemError, match="not served here"):
        asyncio.run(routes.message(request, None))  # type: ignore[arg-type]
