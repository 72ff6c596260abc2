"""Checks of topics, wherever their messages are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery_agents import TopicMessage
from celery_agents.client.bus.listening import Messages

Check = Callable[[Messages], None]


def heard(topics: Messages, name: str = "pager", topic: str = "alerts") -> list[Any]:
    """All that a listener of this name is told now."""
    return [message.body for message in topics.listen(topic, name, idle_s=0.01)]


def each_hears_all(topics: Messages) -> None:
    assert topics.publish("alerts", {"disk": 91}) == 0
    assert topics.publish_many("alerts", ["a", "b"]) == [1, 2]
    topics.publish("alerts2", "another topic's")
    assert heard(topics) == [{"disk": 91}, "a", "b"]
    assert heard(topics) == []
    topics.publish("alerts", "c")
    assert heard(topics) == ["c"]
    assert heard(topics, "late") == [{"disk": 91}, "a", "b", "c"]
    assert [m.place for m in topics.history("alerts", after=1)] == [2, 3]


def by_priority_then_time(topics: Messages) -> None:
    for n, priority in enumerate([5, 9, 0, 5, 0]):
        topics.publish("alerts", n, priority=priority)
    assert heard(topics) == [2, 4, 0, 3, 1]
    assert [m.body for m in topics.history("alerts")] == [0, 1, 2, 3, 4]


def who_dies_amid_a_page_gets_it_again(topics: Messages) -> None:
    topics.publish_many("alerts", ["a", "b", "c"])
    listening = topics.listen("alerts", "pager", idle_s=0.01)
    assert [next(listening).body for _ in range(2)] == ["a", "b"]
    listening.close()  # type: ignore[attr-defined]  # it is a generator
    assert heard(topics) == ["a", "b", "c"]


def none_is_lost_of_many(topics: Messages) -> None:
    for begin in range(0, 1_200, 400):
        topics.publish_many("alerts", range(begin, begin + 400))
    assert heard(topics) == [*range(1_200)]


def said_again_it_is_the_same(topics: Messages) -> None:
    assert topics.publish("alerts", 1, key="x") == topics.publish("alerts", 1, key="x") == 0
    assert heard(topics) == [1]


def poison_is_a_dead_letter(topics: Messages) -> None:
    taken: list[Any] = []

    def take(message: TopicMessage) -> None:
        taken.append(message.body)
        if message.body == "bad":
            raise ValueError("no")

    topics.publish_many("alerts", [1, "bad", 2])
    assert topics.handle("alerts", "pager", take, failures_max=2, idle_s=0.01) == 2
    assert taken == [1, "bad", "bad", 2]
    (letter,) = topics.dead("alerts")
    assert letter.data == {
        "place": 1,
        "body": "bad",
        "listener": "pager",
        "reason": "ValueError: no",
    }
    assert heard(topics) == []


def of_a_tenant(topics: Messages) -> None:
    topics.publish("alerts", 1, tenant="acme")
    assert heard(topics) == []
    assert [m.body for m in topics.listen("alerts", "x", idle_s=0.01, tenant="acme")] == [1]


CHECKS: list[Check] = [
    each_hears_all,
    by_priority_then_time,
    who_dies_amid_a_page_gets_it_again,
    none_is_lost_of_many,
    said_again_it_is_the_same,
    poison_is_a_dead_letter,
    of_a_tenant,
]
