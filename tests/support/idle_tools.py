"""Tools that do nothing, one of each kind of effects."""

from __future__ import annotations

from agents.tools.base import tool


@tool(effects="pure")
async def looks(n: int) -> int:
    """Looks."""
    return n


@tool(effects="pure")
def computes(n: int) -> int:
    """Computes, in a thread."""
    return n


@tool(effects="idempotent")
async def notes(n: int) -> int:
    """Notes."""
    return n


@tool(effects="effect")
async def pays(n: int) -> int:
    """Pays."""
    return n
