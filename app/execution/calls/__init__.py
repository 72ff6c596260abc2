"""The calls that a step makes, and the agents that it asks: none that finished is paid again."""
