"""The scenarios. Importing this package registers them; another one is another function."""

from tests.chaos.scenarios import load, takeover, brokers, journals, messages, workers  # isort: skip

__all__ = ["brokers", "journals", "load", "messages", "takeover", "workers"]
