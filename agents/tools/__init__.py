"""Tools that a model may use."""

from agents.tools.base import Tool, tool

__all__ = ["Tool", "tool"]
