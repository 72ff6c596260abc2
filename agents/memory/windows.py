"""Windows: which exchanges of a conversation an agent is told, within a budget of tokens.

An exchange is a question with all that was said and called up to the next one. It is told whole or
not at all, so no call is without its result; the newest one is always told. What is decided follows
from the conversation, the policy and the estimate alone: an attempt after a crash decides the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from agents.governance.sizes import UNLEARNED, Sizes
from agents.memory.importance import importances
from agents.memory.shortening import Count, cleared, results, shortened
from agents.memory.summaries import TalkSummary, ToSumUp, bounded, message_of
from agents.sessions import tokens_of
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.window import WindowPolicy, WindowReport

#: Of the room beside what always stays: what a summary may have, and what is filled with the newest
#: exchanges. The rest is for those to come, so that not each of them needs another summary.
_SUMMARY_SHARE, _FILLED_SHARE = 0.25, 0.5
#: Tokens below which no summary is worth its call.
_SUMMARY_MIN = 64
#: Tokens that stand around a message at the most.
_AROUND = 16


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of a conversation that an agent is told."""

    messages: tuple[ChatMessage, ...]
    report: WindowReport
    #: A summary that is to be written for it; see :func:`summed_up`.
    wanted: ToSumUp | None = None
    #: Where a summary stands among the messages.
    place: int = 0


def counting(sizes: Sizes = UNLEARNED) -> Count:
    """The estimate of messages' tokens, by what an agent's requests have taught."""
    return lambda messages: tokens_of(messages, sizes)


def surely_within(messages: Iterable[ChatMessage], tokens: int) -> bool:
    """Return whether messages have no more tokens in any case: each one is a byte of a text."""
    for message in messages:
        if message.attachments:
            return False
        said = [message.text, *(f"{c.name}{c.arguments}" for c in message.tool_calls)]
        tokens -= _AROUND + sum(len(text.encode(errors="replace")) for text in said)
        if tokens < 0:
            return False
    return True


def parted(
    messages: Sequence[ChatMessage], *, has_input: bool
) -> tuple[Sequence[ChatMessage], Sequence[ChatMessage]]:
    """Return what stands before a question, and the messages that are the question.

    Those are none where an input is what is asked; else the last user's, with all behind it.
    """
    if has_input:
        return messages, ()
    question = exchanges_of(messages)[-1:]
    at = len(messages) - sum(map(len, question))
    return messages[:at], messages[at:]


def fitting(
    conversation: Sequence[ChatMessage],
    policy: WindowPolicy,
    *,
    count: Count | None = None,
    question: str = "",
    known: TalkSummary | None = None,
) -> Excerpt:
    """Return what an agent is told of the conversation that stands before a question.

    Instructions in it are told in any case, and are no part of the budget. ``known`` is a summary
    of its begin that was written before.
    """
    talk = _Talk(conversation, count or counting(), policy.budget_tokens)
    before = sum(talk.sizes)
    if before <= policy.budget_tokens:
        return Excerpt(tuple(conversation), WindowReport(tokens_before=before, tokens=before))
    if policy.keep_results is not None:
        talk.clear(policy.keep_results)
    told, wanted = None, None
    if sum(talk.sizes) <= policy.budget_tokens:
        talk.stay = {*range(len(talk.exchanges))}
    else:
        talk.stay_always(policy.pin_first)
        if policy.strategy == "sliding_window":
            talk.take(talk.older, talk.room, gaps=False)
        elif policy.strategy == "importance":
            talk.take(_important(talk, question), talk.room, gaps=True)
        else:
            told, wanted = _behind_summary(talk, policy.compression_ratio, known)
    window = talk.window(before, wanted)
    return window if told is None else _with(window, told, talk.count)


def summed_up(
    window: Excerpt, text: str, count: Count | None = None
) -> tuple[Excerpt, TalkSummary | None]:
    """Return a window with the summary that it wanted, as much of it as there is room for.

    Also that summary, for the conversation's next window; None where there is no room.
    """
    wanted, count = window.wanted, count or counting()
    assert wanted is not None
    summary = bounded(TalkSummary(text, wanted.messages), wanted.tokens, count)
    window = replace(window, wanted=None)
    return (window, None) if summary is None else (_with(window, summary, count), summary)


def exchanges_of(messages: Iterable[ChatMessage]) -> list[tuple[ChatMessage, ...]]:
    """Cut a conversation into exchanges: each begins with what a user says after others spoke."""
    found: list[list[ChatMessage]] = []
    for message in messages:
        if not found or (message.role == "user" and found[-1][-1].role != "user"):
            found.append([])
        found[-1].append(message)
    return [tuple(exchange) for exchange in found]


class _Talk:
    """A conversation in its exchanges, of which it is decided which ones stay."""

    def __init__(self, conversation: Sequence[ChatMessage], count: Count, budget: int) -> None:
        self.count = count
        #: Tokens that are left.
        self.room = budget
        said = [place for place, m in enumerate(conversation) if m.role != "system"]
        self._instructions = [(p, m) for p, m in enumerate(conversation) if m.role == "system"]
        self.exchanges = exchanges_of(conversation[place] for place in said)
        self.sizes = [count(exchange) for exchange in self.exchanges]
        #: Behind how many messages of the conversation each exchange ends.
        self.ends: list[int] = []
        number = 0
        for exchange in self.exchanges:
            number += len(exchange)
            self.ends.append(said[number - 1] + 1)
        self.stay: set[int] = set()
        self._cleared: dict[int, int] = {}
        self._shortened = False

    @property
    def older(self) -> range:
        """The places of all but the newest exchange, the newest first."""
        return range(len(self.exchanges) - 2, -1, -1)

    @property
    def gone(self) -> list[int]:
        """The places of those that do not stay."""
        return [place for place in range(len(self.exchanges)) if place not in self.stay]

    def clear(self, newest: int) -> None:
        """Clear the results of tools, but in so many newest exchanges."""
        for place in range(len(self.exchanges) - newest):
            if number := results(self.exchanges[place]):
                self._set(place, cleared(self.exchanges[place]))
                self._cleared[place] = number

    def stay_always(self, pinned: int) -> None:
        """Let the newest exchange stay, in part if it is too long, and the pinned ones."""
        newest = len(self.exchanges) - 1
        if self.sizes[newest] > self.room:
            self._set(newest, shortened(self.exchanges[newest], self.room, self.count))
            self._shortened = True
        self.take([newest], self.room, gaps=False)
        self.take(range(min(pinned, newest)), self.room, gaps=True)

    def take(self, places: Iterable[int], room: int, *, gaps: bool) -> None:
        """Let exchanges stay as long as there is room; without ``gaps`` up to the first too big."""
        for place in places:
            if place in self.stay:
                continue
            if self.sizes[place] <= room:
                self.stay.add(place)
                self.room -= self.sizes[place]
                room -= self.sizes[place]
            elif not gaps:
                break

    def window(self, before: int, wanted: ToSumUp | None) -> Excerpt:
        """Return what stays, in its order, with the instructions where they stood."""
        told = [(self.ends[p] - 1, self.exchanges[p]) for p in sorted(self.stay)]
        told += [(place, (message,)) for place, message in self._instructions]
        messages = tuple(m for _, many in sorted(told, key=lambda t: t[0]) for m in many)
        gone = self.gone
        behind = self.ends[gone[-1]] if gone else 0
        report = WindowReport(
            tokens_before=before,
            tokens=sum(self.sizes[place] for place in self.stay),
            left_out=len(gone),
            cleared=sum(n for place, n in self._cleared.items() if place in self.stay),
            shortened=self._shortened,
        )
        first = sum(len(many) for end, many in told if end < behind)
        return Excerpt(messages, report, wanted, first)

    def _set(self, place: int, exchange: tuple[ChatMessage, ...]) -> None:
        self.exchanges[place] = exchange
        self.sizes[place] = self.count(exchange)


def _important(talk: _Talk, question: str) -> list[int]:
    """The places of the older exchanges, those first that matter most; of equals the newer."""
    texts = ["\n".join(m.text for m in exchange) for exchange in talk.exchanges]
    found = importances(texts, question)
    return sorted(talk.older, key=lambda place: (-found[place], -place))


def _behind_summary(
    talk: _Talk, ratio: float, known: TalkSummary | None
) -> tuple[TalkSummary | None, ToSumUp | None]:
    """Let the newest exchanges stay; the summary that is told in front, or is to be written."""
    older: Iterable[int] = talk.older
    if known is not None:
        older = [place for place in talk.older if talk.ends[place] > known.messages]
        rest = sum(talk.sizes[place] for place in older if place not in talk.stay)
        if talk.count([message_of(known)]) + rest <= talk.room:
            talk.take(older, talk.room, gaps=False)
            return known, None
    most = int(talk.room * _SUMMARY_SHARE)
    talk.take(older, int(talk.room * _FILLED_SHARE), gaps=False)
    if not (gone := talk.gone):  # the newest one alone, told in part
        return None, None
    tokens = min(most, max(int(ratio * sum(talk.sizes[p] for p in gone)), _SUMMARY_MIN))
    if tokens < _SUMMARY_MIN:
        talk.take(older, talk.room, gaps=False)
        return None, None
    begin = 0 if known is None else known.messages
    new = tuple(talk.exchanges[place] for place in gone if talk.ends[place] > begin)
    return None, ToSumUp(new, known, tokens, max(begin, talk.ends[gone[-1]]))


def _with(window: Excerpt, summary: TalkSummary, count: Count) -> Excerpt:
    told, at = message_of(summary), window.place
    report = window.report.model_copy(
        update={
            "tokens": window.report.tokens + count([told]),
            "summarised": window.report.left_out,
        }
    )
    messages = (*window.messages[:at], told, *window.messages[at:])
    return replace(window, messages=messages, report=report)
