"""Tools of data: JSON documents, formats, tables, SQL."""

from agents.toolsets.builtin.data import (
    comparing,
    documents,
    formats,
    sql,
    statements,
    tables,
)

TOOLS = (
    *documents.TOOLS,
    *comparing.TOOLS,
    *formats.TOOLS,
    *tables.TOOLS,
    *sql.TOOLS,
    *statements.TOOLS,
)
