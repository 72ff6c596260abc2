"""Several agents, or several ways to ask them, chosen as a task needs them."""
