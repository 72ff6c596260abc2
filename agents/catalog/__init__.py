"""The agents that there are: agents.toml, Python modules, the registry, health checks."""
