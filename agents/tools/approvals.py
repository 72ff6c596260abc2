"""Calls of tools that a person has to approve: the wish as a member, and the answer to it.

A wish is a member of its step that no worker takes. It is bound to the tool, its arguments, and
the how-manieth call of these it is in its answer; its approval is used by that call alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.plan import Member
from agents.tools.calls import ToolCall
from celery_agents import names
from celery_agents.contracts.approval import ToolApproval
from celery_agents.contracts.outcome import Outcome

#: Characters of a model's words beside a wish, of which people see the last.
_WHY_MAX = 500


def key_of(identity: str) -> str:
    """The key of the wish for a call; that of the agent whom it asks has no such sign."""
    return f"@{identity}"


def wish(call: ToolCall, key: str, why: str) -> Member:
    """The member that waits for a person's answer."""
    told = {"tool": call.name, "arguments": call.arguments, "why": why[-_WHY_MAX:] or None}
    return Member(key=key, task=names.APPROVAL, input=told, options={}, waits=True)


def verdict(ended: Mapping[str, Outcome], key: str) -> ToolApproval | None:
    """The answer to a wish; None while there is none."""
    outcome = ended.get(key)
    if outcome is None:
        return None
    if outcome.ok:
        return ToolApproval.of(outcome.value)
    return ToolApproval(approved=False, reason=outcome.error and outcome.error.message)
