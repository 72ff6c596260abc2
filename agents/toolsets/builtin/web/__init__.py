"""Tools of the web, which go where the guard of :mod:`agents.net.outside` lets them."""

from agents.toolsets.builtin.web import addresses, feeds, markup, pages, requesting, searching

TOOLS = (
    *pages.TOOLS,
    *requesting.TOOLS,
    *markup.TOOLS,
    *feeds.TOOLS,
    *addresses.TOOLS,
    *searching.TOOLS,
)
