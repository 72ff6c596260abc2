"""A pattern's answer when it is not done yet: the members it wants, and when to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.base import Contract, TrustedJson
from celery_agents.contracts.budgets import budget_of
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage


class JoinPolicy(Contract):
    """The condition on which a pattern goes on: the policy of its join.

    ``all``: every member ended. ``first``: the first success, or all ended. ``decided``: the
    pattern's own rule says that the rest cannot matter. ``unbroken``: the first that did not
    succeed, or all ended. ``any``: some member ended, and all others run on. In each case also at
    ``timeout_s``.
    """

    kind: Literal["all", "first", "decided", "unbroken", "any"] = "all"
    timeout_s: float | None = None
    #: From when those seconds count, by the journal's clock. None: from when the join is opened.
    since: float | None = None
    #: Members run on when the join fires (a hedge), instead of being skipped or cancelled.
    keep: bool = False
    #: So many members of its first round run at a time: each that ends lets the next one begin.
    max_concurrent: Annotated[int, Field(ge=1)] | None = None


class Member(Contract):
    """A step that a pattern asks for. Its id is derived from the parent's and ``key``."""

    key: str
    task: str
    input: TrustedJson
    options: dict[str, TrustedJson]
    agent: str | None = None
    max_attempts: int = 4
    deadline_s: float | None = None
    #: No worker takes it: it waits to be answered from outside (an approval).
    waits: bool = False
    #: How it has ended already, in a run that this one resumes: it is there, and not asked.
    ended: Outcome | None = None


class AwaitedAny(Contract):
    """The many things that a pattern whose join is ``any`` waits for, as it last saw them.

    What has come since lets it go on at once.
    """

    #: Keys of its members that had not ended.
    open: tuple[str, ...] = ()
    #: Keys of those that it lets go of.
    lets_go: tuple[str, ...] = ()
    #: The place of the last signal that it was told; a stream has them.
    heard: int = -1
    #: Of the signals behind it, only that it is cancelled lets it go on.
    deaf: bool = False
    #: Where its history begins: lines before that place are deleted. 0: none are.
    begins: int = 0
    #: Of an actor: signals that it was told, and answers, that are older are deleted. None: none.
    keeps_s: float | None = None


class PageOfMembers(Contract):
    """A page of a pattern's members: they are of its first round, whose join counts all pages'."""

    #: The place of its first member.
    start: int
    #: Members of all pages, as many as there may be to wait for; and of the pages before this one
    #: those that had not ended beforehand.
    expected: int
    turn: int
    #: The pattern goes on at once with the next one.
    more: bool = False


class Expand(Contract):
    """Run these members (new ones, or those of earlier rounds again), then ask me again."""

    members: Annotated[tuple[Member, ...], Field(max_length=100_000)] = ()
    join: JoinPolicy = JoinPolicy()
    note: dict[str, Any] | None = None  # an event that tells why, for people
    #: An agent asks them, and not a pattern: they are bounded as members of its team.
    team: bool = False
    page: PageOfMembers | None = None
    #: Of a pattern that goes on with each member's end.
    awaited: AwaitedAny | None = None


def within(plan: Expand, left_s: float | None) -> Expand:
    """Return the plan with a join that waits no longer than ``left_s``; of any pattern."""
    join = plan.join
    if left_s is None or (join.timeout_s is not None and join.timeout_s <= left_s):
        return plan
    sooner = join.model_copy(update={"timeout_s": left_s, "since": None})
    return plan.model_copy(update={"join": sooner})


def streamed(plan: Expand) -> Expand:
    """Return the plan with members that tell what they do, as their pattern's run is asked to."""
    return _inherited(plan, lambda options: {**options, "stream": True})


def narrowed(plan: Expand, caps: Mapping[str, Any]) -> Expand:
    """Return the plan with members that these caps bound, beside their own."""
    budget = budget_of(caps)
    others = {name: cap for name, cap in caps.items() if name in CAPS}

    def narrow(options: Mapping[str, Any]) -> dict[str, Any]:
        told = {**options, **_narrower(options, others)}
        if budget:
            own = options.get("budget") or {}
            told["budget"] = {**own, **_narrower(own, budget)}
        return told

    return _inherited(plan, narrow)


def scoped(plan: Expand, scope: Mapping[str, str]) -> Expand:
    """Return the plan with members that are about the same, beside what they say themselves."""

    def inherit(options: Mapping[str, Any]) -> dict[str, Any]:
        return {**options, "scope": {**scope, **(options.get("scope") or {})}}

    return _inherited(plan, inherit)


def _narrower(own: Mapping[str, Any], caps: Mapping[str, Any]) -> dict[str, Any]:
    return {n: c if own.get(n) is None else min(own[n], c) for n, c in caps.items()}


def _inherited(plan: Expand, told: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Expand:
    """Return the plan with these options of its members; what waits for a person has none."""
    known: dict[int, dict[str, Any]] = {}  # members that share their options go on to share them

    def inherit(member: Member) -> Member:
        if member.waits:
            return member
        if id(member.options) not in known:
            known[id(member.options)] = told(member.options)
        return member.model_copy(update={"options": known[id(member.options)]})

    return plan.model_copy(update={"members": tuple(map(inherit, plan.members))})


class MemberState(Contract):
    """A member as its pattern sees it: its outcome, once it has one."""

    key: str
    state: State
    outcome: Outcome | None = None
    elapsed_s: float | None = None  # since it was first claimed, to its end or to now
    round: int = 0  # of its pattern, that asked for it last


class Tally(Contract):
    """A pattern's members in numbers, for one that has too many to look at each."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0  # dead ones too; the others were let go, or have not ended
    usage: Usage = Usage()
    errors: tuple[tuple[int, ErrorInfo], ...] = ()  # of the first that failed, by their place
    values: tuple[TrustedJson, ...] | None = ()  # in their order; None: together too big
