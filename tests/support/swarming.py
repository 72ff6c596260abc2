"""Agents of swarms in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery_agents import StepContext, agent
from tests.support.gate import may_end


def _tell(path: str, line: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@agent
async def works(order: dict[str, Any], step: StepContext) -> Any:
    """One line with its unit for each time that it is done; it fails if it is to.

    It takes ``seconds``, and until there is the file ``after``.
    """
    await may_end(order)
    if order.get("fails"):
        raise ValueError("it does not work")
    _tell(order["path"], str(order["unit"]))
    return [order["unit"], step.step_id]
