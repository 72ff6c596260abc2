"""An attempt's part in a session: what its agent is told of it, and what it adds at its end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, assert_never

from agents.memory.summaries import TalkSummary
from agents.plan import Expand
from agents.sessions import exchange_of, recalled, tokens_of
from app.concurrency.fibers import blocking, wait
from app.execution.answers import Result, Stopped, Waits
from app.journal.schema.rows import HeldSession, NewExchange, Unheld
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Answer, Outcome
from celery_agents.contracts.session import SessionExchange
from celery_agents.errors import InvalidPayloadError

if TYPE_CHECKING:
    from app.execution.telling import Telling


class Talk:
    """The session that an attempt's run holds."""

    def __init__(self, request: Ask, held: HeldSession, exchanges: list[SessionExchange]) -> None:
        self._request = request
        #: Its name.
        self.session = request.session
        self._left_out = held.begins
        #: Who answers: the agent that is asked, or the one that it has handed over to before.
        self.agent = request.agent
        if exchanges and exchanges[-1].asked == request.agent and not request.reset_active:
            self.agent = exchanges[-1].active or request.agent
        told_of = [e for e in exchanges if e.place >= held.begins]
        told = recalled((e.place, e.messages) for e in told_of)
        #: Behind how many messages each exchange that it is told ends.
        self._ends = [*accumulate(len(e.messages) for e in told_of)]
        #: The summary of its begin, from the newest exchange that has one.
        self.summary = _summary(told_of, self._ends)
        #: Whether one of them was answered by who had read what others wrote.
        self.untrusted = any(e.untrusted for e in told_of)
        #: The conversation before the input.
        self.messages = (*told, *request.messages)

    def ended(
        self, outcome: Outcome, turns: Sequence[ChatMessage] = (), *, untrusted: bool = False
    ) -> tuple[Outcome, NewExchange | None]:
        """The outcome with what its agent was not told, and the exchange if there was one.

        ``turns`` is what was said on the way to the answer.
        """
        left_out = self._left_out + outcome.left_out  # by the session's window, and its agent's
        outcome = outcome.model_copy(update={"left_out": left_out})
        if not outcome.ok:
            return outcome, None
        asked = self._request
        messages = exchange_of(asked.messages, asked.input, turns, outcome.value)
        active = outcome.active or self.agent
        data: dict[str, Any] = {
            "agent": outcome.agent,
            "asked": asked.agent,
            "active": active if active != asked.agent else None,
            "messages": [m.compact() for m in messages],
        }
        if untrusted:
            data["untrusted"] = True
        if self.summary is not None:
            whole = sum(end <= self.summary.messages for end in self._ends)
            exchanges = self._left_out + whole
            data["summary"] = {"text": self.summary.text, "exchanges": exchanges}
        return outcome, NewExchange(data, tokens_of(messages))


def _summary(exchanges: Sequence[SessionExchange], ends: Sequence[int]) -> TalkSummary | None:
    found = next((e.summary for e in reversed(exchanges) if e.summary is not None), None)
    if found is None:
        return None
    within = [end for e, end in zip(exchanges, ends, strict=True) if e.place < found.exchanges]
    return TalkSummary(found.text, max(within, default=0))


def named(agent: str, said: Answer | Outcome | Expand) -> Answer | Outcome | Expand:
    """Return what an agent said under its name, where its step is of another one."""
    if isinstance(said, Answer):
        return Outcome.of(said, agent=agent)
    if isinstance(said, Outcome) and said.agent is None:
        return said.model_copy(update={"agent": agent})
    return said


def joined(step: Telling, request: Ask) -> Talk | Result:
    """Take the session of a request, or say why its agent is not to be asked now.

    Raises:
        InvalidPayloadError: the step is a member of a run.
    """
    claim, runtime = step.claim, step.runtime
    if claim.parent_id is not None:
        raise InvalidPayloadError("A session is of a run: a member of one has none.")
    budget = request.window_tokens
    if budget is None:
        agent = runtime.agents.registry.find(request.agent)
        window = None if agent is None else agent.window
        usual = runtime.settings.session_window_tokens
        budget = usual if window is None else window.of_session_tokens
    held = wait(runtime.journal.sessions.hold(claim, request.session or "", budget))
    match held:
        case HeldSession():
            told = blocking(runtime.journal.sessions.told, held)
            talk = Talk(request, held, [SessionExchange.model_validate(e) for e in told])
            if runtime.agents.registry.find(talk.agent) is None:  # it is no more
                talk.agent = request.agent
            if talk.untrusted:
                blocking(runtime.journal.memories.distrust, claim.run_id)
                step.distrusted = True
            return talk
        case Unheld.WAITS:
            return Waits()
        case Unheld.CANCELLED | Unheld.LOST:
            return Stopped()
        case _:
            assert_never(held)
