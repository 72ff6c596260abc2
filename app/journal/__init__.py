"""The journal: the truth about every step. See docs/design.md for the life of a step."""

from app.journal.journal import Journal

__all__ = ["Journal"]
