"""Topics of one process; tests/integration/test_topics.py asks the same of the journal's."""

from __future__ import annotations

import threading

import pytest

from celery_agents import LocalTopics
from celery_agents.errors import InvalidPayloadError
from tests.support.topics import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_topics(check: Check) -> None:
    check(LocalTopics())


def test_who_waits_is_woken() -> None:
    topics, heard = LocalTopics(), list[object]()

    def listen() -> None:
        heard.append(next(topics.listen("alerts", "pager")).body)

    thread = threading.Thread(target=listen)
    thread.start()
    topics.publish("alerts", "now")
    thread.join(20)
    assert heard == ["now"]


@pytest.mark.parametrize(
    ("topic", "priority"), [("", 5), ("a*", 5), ("a\n", 5), ("a", 10), ("a", -1), ("a", True)]
)
def test_what_is_no_topic_or_priority(topic: str, priority: int) -> None:
    with pytest.raises(InvalidPayloadError, match=r"topic|priority"):
        LocalTopics().publish(topic, 1, priority=priority)
