"""Which agents there are: agents.toml, Python modules, the registry, and looks at their health."""
