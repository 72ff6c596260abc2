"""Wishes that wait for a person: a tool that a model wants to call, a vote, a flow's question."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import escape
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from celery_agents.contracts.base import Contract, JsonValue, Name, Option, TrustedJson, mistakes
from celery_agents.errors import InvalidPayloadError


class Wish(Contract):
    """Something in a run that waits for a person's answer; it holds no worker."""

    key: str  # for ``approve``
    run_id: str
    #: Seconds since 1970, when it began to wait.
    since: float
    #: ``flow``: a flow's code asks, by ``run.approval``; ``client``: a tool asks whoever called it.
    asks: Literal["flow", "client"] | None = None
    #: Of the latter: see :class:`ClientRequest`.
    request: TrustedJson = None
    #: The tool that a model wants to call, and its arguments; None: a question waits.
    tool: str | None = None
    arguments: TrustedJson = None
    #: The model's words beside its wish.
    why: str | None = None
    #: Of a vote or a flow: the question, and the options if there are such.
    question: TrustedJson = None
    choices: tuple[str, ...] | None = None
    #: Patterns of those who may answer, as an audit names them, or of roles (``role:admin``);
    #: empty: whoever may approve runs.
    by: tuple[str, ...] = ()


#: Before a pattern of roles: whoever has such a one is asked.
ROLE = "role:"
ADMINS = f"{ROLE}admin"


def is_asked(actor: str, patterns: Sequence[str], role: str = "") -> bool:
    """Return whether a name or a role fits one of the patterns of a wish; none ask everybody."""
    return not patterns or any(_fits(actor, role, pattern) for pattern in patterns)


def exactly(actor: str) -> str:
    """The pattern of one name, whatever stands in it.

    >>> is_asked("jwt:*", [exactly("jwt:*")]), is_asked("jwt:anna", [exactly("jwt:*")])
    (True, False)
    """
    return escape(actor)


def _fits(actor: str, role: str, pattern: str) -> bool:
    if pattern.startswith(ROLE):
        return bool(role) and fnmatchcase(role, pattern.removeprefix(ROLE))
    return fnmatchcase(actor, pattern)


#: The sign of wishes that the program which called a tool is asked.
CLIENT = "client"
_CAPABILITIES = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class ClientRequest(Contract):
    """A request of the Model Context Protocol, by which a tool asks the program that called it."""

    #: By which the tool, and its client, know it.
    key: Name
    method: Literal["elicitation/create", "sampling/createMessage", "roots/list"]
    params: dict[str, TrustedJson] = Field(default_factory=dict)

    @classmethod
    def of(cls, key: str, method: Any, params: dict[str, Any]) -> Self:
        """The request that a tool makes.

        Raises:
            InvalidPayloadError: it is none.
        """
        try:
            return cls(key=key, method=method, params=params)
        except ValidationError as error:
            place, why = mistakes(error, cls)[0]
            raise InvalidPayloadError(f"{place}: {why}") from None

    @property
    def capability(self) -> str:
        """The capability that its client needs."""
        return _CAPABILITIES[self.method]

    @property
    def words(self) -> str:
        """The request for people who look at what waits."""
        message = self.params.get("message")
        return message if isinstance(message, str) else f"{self.method} of the client"

    def problem(self, answer: JsonValue) -> str | None:
        """Say why something is no answer to it, if it is none."""
        if not isinstance(answer, dict):
            return "an answer is an object"
        if self.method == "roots/list":
            return None if isinstance(answer.get("roots"), list) else "it has no roots"
        if self.method == "sampling/createMessage":
            there = isinstance(answer.get("role"), str) and bool(answer.get("content"))
            return None if there else "it has no role, or no content"
        if (action := answer.get("action")) not in ("accept", "decline", "cancel"):
            return "its action is none of accept, decline, cancel"
        if action == "accept" and not isinstance(answer.get("content", {}), dict):
            return "its content is no object"
        return None


class FlowQuestion(Contract):
    """A flow's question to a person."""

    asks: Literal["flow"]
    question: TrustedJson
    #: One of them is the answer; None: a yes or no.
    choices: Annotated[tuple[Option, ...], Field(min_length=1, max_length=1000)] | None = None
    #: As of :class:`Wish`.
    by: Annotated[tuple[Name, ...], Field(max_length=100)] = ()

    @classmethod
    def of(cls, question: JsonValue, choices: Any, by: Any) -> Self:
        """The question as a flow's code asks it.

        Raises:
            InvalidPayloadError: it is none.
        """
        told = {"asks": "flow", "question": question, "choices": choices, "by": by}
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            place, why = mistakes(error, cls)[0]
            raise InvalidPayloadError(f"{place}: {why}") from None


class PersonAnswer(Contract):
    """A person's answer to a flow's question."""

    #: True or False; of a question with choices one of these.
    choice: bool | str
    reason: str | None = None
    #: Whose answer it is, as the audit names him.
    by: str

    def __bool__(self) -> bool:
        """True of a yes.

        Raises:
            TypeError: it is no yes or no, so that nobody takes an option for a yes.
        """
        if isinstance(self.choice, bool):
            return self.choice
        message = "The answer is one of several choices: compare its `choice`."
        raise TypeError(message)

    @classmethod
    def of(cls, told: JsonValue, choices: Sequence[str] | None, by: str) -> PersonAnswer:
        """Read an answer: one of the choices, or ``{"option", "reason"}``; else a yes or no.

        Raises:
            ValueError: it is none.
        """
        if not choices:
            said = ToolApproval.of(told)
            if said.arguments is None:
                return cls(choice=said.approved, reason=said.reason, by=by)
            message = "answer with True, False, or a reason why not"
            raise ValueError(message)
        given = told if isinstance(told, dict) else {"option": told}
        option, reason = given.get("option"), given.get("reason")
        if option not in choices or not isinstance(reason, str | None):
            message = f"answer with one of {', '.join(choices)}"
            raise ValueError(message)
        return cls(choice=option, reason=reason, by=by)


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


def refusal(reason: str) -> bool | str:
    """Answer no, with the reason where that is one: "yes" would be read as what it says."""
    try:
        said = ToolApproval.of(reason)
    except ValueError:  # blanks
        return False
    return False if said.approved or said.reason is None else reason


#: What people write for True and False, in a shell say.
_WORDS = {"yes": True, "true": True, "no": False, "false": False}
