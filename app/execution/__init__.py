"""How a step runs: Celery's task, the context of an agent, what is published after."""
