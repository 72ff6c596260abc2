"""Built-in kinds of agents: a function, a model, an HTTP service, a script."""
