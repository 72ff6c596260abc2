"""Tools of files below one folder."""

from agents.toolsets.builtin.files import changing, documents, moving, reading

TOOLS = (*reading.TOOLS, *documents.TOOLS, *changing.TOOLS, *moving.TOOLS)
