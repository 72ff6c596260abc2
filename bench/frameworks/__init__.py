"""Killed teams of other frameworks, beside DBOS: ``python -m bench.frameworks``."""
