"""Which way of asking serves a kind of task is learned, or an agent says it (docs/teams.md).

It prints:

    vote(nouns, verbs, tone) delivery
    triage vote(nouns, verbs, tone)
    shout HELLO True
"""

from __future__ import annotations

from celery_agents import Ask, Client, Decision, RetryPolicy, Vote

ONCE = RetryPolicy(max_attempts=1)
STRATEGIES: list[Ask | Vote] = [
    Ask(agent="down", retry=ONCE),
    Vote.model_validate({"voters": ["nouns", "verbs", "tone"]}),
]

with Client() as agents:
    # The first one is always away, so the panel answers; after some tasks it is tried first.
    run = agents.solve("My parcel did not arrive.", STRATEGIES, work="triage")
    solution = run.get(timeout=60)
    print(solution.strategy, Decision.model_validate(solution.value).option)

    # A person says what the answer was worth, from 0 to 1.
    run.feedback(0.9)
    (lessons,) = agents.solve.learned("triage")
    print(lessons.work, lessons.records[0].name)

    # An agent chooses instead: it gets the task, and the strategies' names as choices.
    chosen = agents.solve("hello", ["down", "shout"], select="louder").get(timeout=60)
    print(chosen.strategy, chosen.value, chosen.selected)
