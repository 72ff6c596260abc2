"""The scenarios. Importing this package registers them; another one is another function."""

from tests.chaos.scenarios import load, takeover

__all__ = ["load", "takeover"]
