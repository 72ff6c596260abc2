"""``/mcp``: the Model Context Protocol; a tool is an agent or a panel, a task is a run."""
