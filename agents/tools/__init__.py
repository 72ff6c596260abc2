"""Tools that a model may use."""

from agents.tools.base import CallContext, Tool, tool
from agents.tools.calls import ToolError, ToolSpec
from agents.tools.policy import ToolPolicy
from agents.tools.toolset import FunctionToolset, Toolset
from agents.tools.wrappers import Filtered, Limited, Prefixed

__all__ = [
    "CallContext",
    "Filtered",
    "FunctionToolset",
    "Limited",
    "Prefixed",
    "Tool",
    "ToolError",
    "ToolPolicy",
    "ToolSpec",
    "Toolset",
    "tool",
]
