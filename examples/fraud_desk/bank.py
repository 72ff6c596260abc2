"""The bank's MCP server, by standard input and output, made with the official SDK."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer

server = MCPServer("bank")
_CARDS = {"c-1": "issued in May", "c-2": "issued last week", "c-3": "issued in 2019"}


@server.tool()
def look_up(card: str) -> str:
    """Tells since when a card is there."""
    return f"{card}: {_CARDS.get(card, 'not known')}"


if __name__ == "__main__":
    server.run("stdio")
