"""Tools of data: JSON documents, formats, tables, SQL."""

from agents.toolsets.builtin.data import comparing, documents, formats, sql, tables

TOOLS = (
    *documents.TOOLS,
    *comparing.TOOLS,
    *formats.TOOLS,
    *tables.TOOLS,
    *sql.TOOLS,
)
