"""A guard that tells agents no more of a conversation than their windows have room for."""

from __future__ import annotations

from dataclasses import replace

from agents.base import Turn
from agents.catalog.registry import Registered
from agents.governance.lessons import Learns
from agents.governance.sizes import UNLEARNED, Sizes
from agents.memory.shortening import Count
from agents.memory.summaries import TalkSummary, input_of, instructions_of, portions
from agents.memory.windows import Excerpt, counting, fitting, parted, summed_up, surely_within
from agents.values import digest, text_of
from app.admission.guard import Asked, Next, Reply
from celery_agents.contracts.outcome import Answer, Outcome, Usage
from celery_agents.contracts.window import WindowPolicy, WindowReport

#: What an agent is told beside its instructions where it lacks a part.
_LACKS = "Earlier parts of this conversation are left out. Ask, where you need what was said there."


class WindowGuard:
    """Cut what an agent is told of a conversation, and have the rest summed up where it says so."""

    def concerns(self, agent: Registered) -> bool:
        """Return whether it is told only a part of long conversations."""
        return agent.window is not None

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        policy, turn = asked.agent.window, asked.turn
        if policy is None or not turn.messages:
            return await go_on(asked)
        before, question = parted(turn.messages, has_input=turn.input is not None)
        if surely_within(before, policy.budget_tokens):
            return await go_on(asked)
        count = counting(await _sizes(asked))
        text = "\n".join([*(m.text for m in question), text_of(turn.input)])
        known = asked.step.summary
        window = fitting(before, policy, count=count, question=text, known=known)
        window, summary, spent = await _with_summary(asked, policy, window, count)
        if window.report.tokens == window.report.tokens_before:
            return await go_on(asked)
        asked.step.told(window.report.left_out, summary or known)
        await asked.step.note("window", [_noted(window.report)])
        told = turn.model_copy(update={"messages": (*window.messages, *question)})
        reply = await go_on(replace(asked, turn=_with_line(told, window.report)))
        if spent == Usage() or not isinstance(reply, Answer | Outcome):
            return reply
        return reply.model_copy(update={"usage": reply.usage + spent})


async def _sizes(asked: Asked) -> Sizes:
    """Return the sizes that its requests have taught, as they were when the step asked first.

    It is a journaled call: what is learned meanwhile changes nothing of what a later attempt asks.
    """
    if not isinstance(asked.agent.backend, Learns):
        return UNLEARNED
    lessons = asked.agent.backend.lessons

    async def perform() -> Answer:
        known = await lessons.known()
        kinds = {kind: [*found] for kind, found in known.kinds.items()}
        return Answer(value={"calls": known.calls, "kinds": kinds})

    about = digest([asked.agent.name, len(asked.turn.messages)])
    answer = await asked.step.helpers().aside("window", perform, about)
    return Sizes.model_validate(answer.value)


async def _with_summary(
    asked: Asked, policy: WindowPolicy, window: Excerpt, count: Count
) -> tuple[Excerpt, TalkSummary | None, Usage]:
    """Return a window with the summary that it wants, which its policy's agent writes."""
    wanted = window.wanted
    if wanted is None:
        return window, None, Usage()
    helpers = asked.step.helpers()
    text = None if wanted.before is None else wanted.before.text
    for portion in portions(wanted, policy.budget_tokens, count):
        turn = Turn(input=input_of(portion, text), instructions=instructions_of(wanted.tokens))
        text = text_of(await helpers.answer(policy.summary or "", turn))
    return *summed_up(window, text or "", count), helpers.spent


def _with_line(turn: Turn, report: WindowReport) -> Turn:
    """Say that a part is left out: the same words each time, for the provider's cache."""
    if report.left_out == report.summarised:
        return turn
    parts = [turn.instructions, _LACKS]
    return turn.model_copy(update={"instructions": "\n\n".join(p for p in parts if p)})


def _noted(report: WindowReport) -> dict[str, str]:
    told = {name: str(value) for name, value in report.compact().items()}
    return told | {"compression_ratio": f"{report.compression_ratio:.2f}"}
