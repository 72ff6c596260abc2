from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from agents.governance.sizes import Sizes
from agents.memory.shortening import CLEARED
from agents.memory.summaries import TalkSummary, input_of, portions
from agents.memory.windows import (
    Excerpt,
    counting,
    exchanges_of,
    fitting,
    summed_up,
    surely_within,
)
from celery_agents.contracts.conversation import ChatMessage, checked
from celery_agents.contracts.window import WindowPolicy
from tests.support.drawn import costly

COUNT = counting()
#: What an agent may have learned of its texts.
LEARNED = counting(Sizes(calls=50, kinds={"word": (1.7, 0.1), "message": (0.6, 0.1)}))


def say(role: str, content: Any = "", **more: Any) -> ChatMessage:
    return ChatMessage.model_validate({"role": role, "content": content, **more})


def called(number: int, result: str) -> list[ChatMessage]:
    call = {"id": f"c{number}", "name": "find", "arguments": {"n": number}}
    return [
        say("assistant", tool_calls=[call]),
        say("tool", result, call_id=f"c{number}"),
    ]


def talk(number: int, words: int = 30, *, tools: bool = False) -> list[ChatMessage]:
    """A conversation of so many exchanges, each of which has its number in its texts."""
    found: list[ChatMessage] = []
    for place in range(number):
        found.append(say("user", f"question {place} " + "word " * words))
        if tools:
            found += called(place, f"result {place} " + "found " * words)
        found.append(say("assistant", f"answer {place}"))
    return found


def numbers(messages: tuple[ChatMessage, ...]) -> list[int]:
    return [int(m.text.split()[1]) for m in messages if m.text.startswith("question")]


def policy(budget: int, **more: Any) -> WindowPolicy:
    return WindowPolicy(budget_tokens=budget, **more)


def test_what_fits_is_told_as_it_is() -> None:
    said = talk(3)
    window = fitting(said, policy(1000))
    assert window.messages == tuple(said)
    assert window.report.compression_ratio == 1
    assert (window.report.left_out, window.wanted) == (0, None)


def test_the_newest_whole_exchanges_stay() -> None:
    window = fitting(talk(20), policy(256))
    told = numbers(window.messages)
    assert told == [*range(20 - len(told), 20)]
    assert 4 <= len(told) < 20
    assert window.report.left_out == 20 - len(told)
    assert window.report.tokens == COUNT(window.messages) <= 256 < window.report.tokens_before


def test_pinned_ones_and_instructions_stay() -> None:
    said = [say("system", "Be terse. " * 200), *talk(20)]
    told = fitting(said, policy(256, pin_first=2)).messages
    assert told[0] == said[0]
    assert numbers(told)[:2] == [0, 1]
    assert numbers(told)[-1] == 19
    assert COUNT(told[1:]) <= 256


def test_results_of_tools_are_cleared_first() -> None:
    said = talk(6, words=20, tools=True)
    window = fitting(said, policy(330, keep_results=2))
    assert numbers(window.messages) == [*range(6)]
    results = [m.text for m in window.messages if m.role == "tool"]
    assert results[:4] == [CLEARED] * 4
    assert all(text.startswith("result") for text in results[4:])
    assert (window.report.cleared, window.report.left_out) == (4, 0)
    kept = fitting(said, policy(330)).report
    assert (kept.cleared, kept.left_out > 0) == (0, True)


def test_what_matters_for_the_question_stays() -> None:
    said = talk(20)
    said[4] = say("user", "question 2 about the invoice of Oslo " + "word " * 30)
    important = policy(256, strategy="importance")
    assert 2 in numbers(fitting(said, important, question="Whose invoice?").messages)
    assert 2 not in numbers(fitting(said, important, question="And now?").messages)
    assert 2 not in numbers(fitting(said, policy(256), question="Whose invoice?").messages)


def test_a_newest_exchange_that_is_too_long_is_told_in_part() -> None:
    photo = {"kind": "image", "media_type": "image/png", "data": "cGl4ZWw="}
    asked = say("user", [photo, {"kind": "text", "text": "Begin " + "middle " * 900 + "end."}])
    window = fitting([asked, *called(1, "x " * 5000), say("assistant", "Yes.")], policy(300))
    question, answer = window.messages
    assert "[image image/png is left out]" in question.text
    assert question.text.endswith("end.")
    assert answer.text == "Yes."
    assert window.report.shortened
    assert COUNT(window.messages) <= 300


def test_a_summary_stands_for_what_is_left_out() -> None:
    said = talk(20)
    brief = policy(600, strategy="summary", summary="brief", pin_first=1)
    window = fitting(said, brief)
    assert window.wanted is not None
    pinned, *rest = numbers(window.messages)
    assert (pinned, rest) == (0, [*range(rest[0], 20)])
    gone = [int(e[0].text.split()[1]) for e in window.wanted.exchanges]
    assert gone == [*range(1, rest[0])]
    told, summary = summed_up(window, "They spoke of " + "much " * 500)
    assert summary is not None
    assert summary.messages == 2 * rest[0]
    assert "They spoke" in told.messages[2].text
    assert told.report.summarised == told.report.left_out == len(gone)
    assert told.report.tokens == COUNT(told.messages) <= 600
    # The next ones go on with it, and write none until the room is full again.
    later = [*said, *talk(1)]
    again = fitting(later, brief, known=summary)
    assert again.wanted is None
    assert again.messages[2] == told.messages[2]
    assert numbers(again.messages) == [0, *rest, 0]
    much = fitting([*said, *talk(12)], brief, known=summary)
    assert much.wanted is not None
    assert much.wanted.before == summary
    assert int(much.wanted.exchanges[0][0].text.split()[1]) == rest[0]


def test_a_summary_is_written_in_portions() -> None:
    wanted = fitting(talk(60), policy(600, strategy="summary", summary="brief")).wanted
    assert wanted is not None
    found = [*portions(wanted, 300, COUNT)]
    assert sum(found, ()) == wanted.exchanges
    assert all(sum(COUNT(e) for e in many) <= 300 for many in found)
    told: Any = input_of(found[0], "Before.")
    assert told["summary"] == "Before."
    assert told["conversation"][1] == {"role": "assistant", "text": "answer 0"}


@pytest.mark.parametrize(
    ("said", "tokens", "within"),
    [
        (talk(1, words=1), 200, True),
        (talk(1, words=1), 20, False),
        ([say("user", "é" * 50)], 100, False),
        ([*talk(1), *called(1, "x")], 400, True),
        (
            [say("user", [{"kind": "image", "media_type": "image/png", "data": "cGk="}])],
            9_999,
            False,
        ),
    ],
)
def test_what_surely_fits_is_seen_without_an_estimate(
    said: list[ChatMessage], tokens: int, *, within: bool
) -> None:
    assert surely_within(said, tokens) is within


# ---------------------------------------------------------------- whatever was said


TEXTS = [
    "",
    "word",
    "Größe 43",
    "日本語のテキスト",
    "x" * 50,
    "12,345 €\n" * 5,
    "🎉 done",
    "a b " * 40,
]
#: What is said in them: made once, and counted once.
ASKED = [say("user", text * n or "?") for text in TEXTS for n in (1, 3)]
SAID = [say("assistant", text * n or "!") for text in TEXTS for n in (1, 3)]
CALLED = [called(at, text * n) for at in range(3) for text in TEXTS for n in (1, 9)]
KIND = say("system", "Be kind.")


def quickly(count: Any) -> Any:
    """The same count, which knows those messages by heart."""
    pairs = [m for pair in CALLED for m in pair]
    known = {id(m): count([m]) for m in [*ASKED, *SAID, *pairs]}
    return lambda messages: sum(known.get(id(m)) or count([m]) for m in messages)


def histories(seed: int, number: int) -> Iterator[tuple[list[ChatMessage], WindowPolicy, str]]:
    """Conversations of all forms, with a policy and a question each."""
    dice = random.Random(seed)

    def exchange() -> list[ChatMessage]:
        said = dice.choices(ASKED, k=dice.choice([1, 1, 1, 2]))
        for _ in range(dice.choice([0, 0, 1, 2])):
            said += dice.choice(CALLED)
        if dice.random() < 0.1:
            said.append(KIND)
        if dice.random() < 0.9:
            said.append(dice.choice(SAID))
        return said

    policies = [
        policy(
            budget, strategy=strategy, summary="brief" if strategy == "summary" else None, **more
        )
        for budget in (256, 300, 700)
        for strategy in ("sliding_window", "importance", "summary")
        for more in MORE
    ]
    for _ in range(number):
        said = [m for _ in range(dice.randrange(10)) for m in exchange()]
        if dice.random() < 0.1:
            said = [*dice.choice(CALLED), *said]  # it goes on with what was cut off
        yield said, dice.choice(policies), dice.choice(TEXTS)


#: What policies have beside a strategy.
MORE: list[dict[str, Any]] = [
    {},
    {"pin_first": 1, "compression_ratio": 0.05},
    {"pin_first": 3, "keep_results": 1},
    {"keep_results": 3, "compression_ratio": 0.9},
]


def whole(window: Excerpt, text: str, count: Any) -> Excerpt:
    return window if window.wanted is None else summed_up(window, text, count)[0]


def test_thousands_of_conversations() -> None:
    """Never over budget, no result without its call, the newest always there, and the same again.

    What stands in the window is what was said, or the mark of what was cleared or shortened.
    """
    seen = dict.fromkeys(("whole", "left_out", "cleared", "shortened", "summarised"), 0)
    counts, talks = (quickly(COUNT), quickly(LEARNED)), costly(10_000, part=12)
    for number, (said, rules, text) in enumerate(histories(1, talks)):
        count = counts[number % 2]
        known = TalkSummary("Before.", len(said) // 2) if number % 3 == 0 else None
        window = fitting(said, rules, count=count, question=text, known=known)
        told = whole(window, text * 20, count)
        spoken = [m for m in told.messages if m.role != "system"]
        assert count(spoken) == told.report.tokens <= rules.budget_tokens
        checked(told.messages)
        asked = exchanges_of(m for m in said if m.role != "system")
        if asked and not told.report.shortened:
            newest = asked[-1]
            assert told.messages == tuple(said) or tuple(spoken[-len(newest) :]) == newest
        assert [m for m in told.messages if m.role == "system"] == [
            m for m in said if m.role == "system"
        ]
        assert (bool(asked), bool(spoken)) in {(True, True), (False, False)}
        for name in seen:
            seen[name] += bool(getattr(told.report, name, told.messages == tuple(said)))
        if number % 20 == 0:
            again = fitting(said, rules, count=count, question=text, known=known)
            assert whole(again, text * 20, count) == told
    assert min(seen.values()) > 0.03 * talks, seen
