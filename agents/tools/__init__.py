"""Tools that a model may use."""

from agents.tools.base import Tool, tool
from agents.tools.calls import ToolError, ToolSpec
from agents.tools.toolset import FunctionToolset, Toolset
from agents.tools.wrappers import Filtered, Limited, Prefixed

__all__ = [
    "Filtered",
    "FunctionToolset",
    "Limited",
    "Prefixed",
    "Tool",
    "ToolError",
    "ToolSpec",
    "Toolset",
    "tool",
]
