"""What an agent can be: a function, a model, an HTTP service, a script."""
