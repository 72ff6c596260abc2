"""The inbox itself: what the demo promises about its data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from examples.triage.detectors import LANGUAGES
from examples.triage.report import Message, read_inbox

INBOX = Path(__file__).parents[3] / "examples" / "inbox.tsv"


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return read_inbox(INBOX)


def test_about_120_messages_in_more_than_20_languages(messages: list[Message]) -> None:
    assert 110 <= len(messages) <= 130
    assert len({message.language for message in messages}) >= 20


def test_each_message_is_labelled_with_a_language_of_the_desk(messages: list[Message]) -> None:
    assert {message.language for message in messages} <= LANGUAGES


def test_no_message_stands_twice(messages: list[Message]) -> None:
    assert max(Counter(message.text.casefold() for message in messages).values()) == 1


def test_messages_are_short_and_many_are_very_short(messages: list[Message]) -> None:
    assert max(len(message.text) for message in messages) <= 80
    assert sum(len(message.text.split()) <= 3 for message in messages) >= 30
