"""Wishes that wait for a person: a tool that a model wants to call, a vote that is to be ended."""

from __future__ import annotations

from typing import Any

from celery_agents.contracts.base import Contract, JsonValue, TrustedJson


class Wish(Contract):
    """Something in a run that waits for a person's answer; it holds no worker."""

    key: str  # for ``approve``
    run_id: str
    #: Seconds since 1970, when it began to wait.
    since: float
    #: The tool that a model wants to call, and its arguments; None: a vote waits.
    tool: str | None = None
    arguments: TrustedJson = None
    #: The model's words beside its wish.
    why: str | None = None
    #: Of a vote: the question, and the options if there are such.
    question: TrustedJson = None
    choices: tuple[str, ...] | None = None


class ToolApproval(Contract):
    """A person's answer to the wish to call a tool."""

    approved: bool
    #: Those to call it with; None: as the model wished.
    arguments: dict[str, TrustedJson] | None = None
    reason: str | None = None

    @classmethod
    def of(cls, choice: JsonValue) -> ToolApproval:
        """Read an answer: True, False, a reason (which refuses), or other arguments.

        A bare "yes" or "no" is no reason, but what it says.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(choice, bool):
            return cls(approved=choice)
        if isinstance(choice, str) and (word := choice.strip().lower()) in _WORDS:
            return cls(approved=_WORDS[word])
        if isinstance(choice, str) and choice.strip():
            return cls(approved=False, reason=choice)
        if isinstance(choice, dict) and choice.keys() == {"arguments"}:
            arguments: Any = choice["arguments"]
            if isinstance(arguments, dict):
                return cls(approved=True, arguments=arguments)
        raise ValueError(
            'answer with True, False, a reason why not, or {"arguments": {…}} to change them'
        )


#: What people write for True and False, in a shell say.
_WORDS = {"yes": True, "true": True, "no": False, "false": False}
