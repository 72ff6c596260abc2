"""Ask, try the next one, vote: against a service that is up (see docs/client.md).

It prints:

    HELLO
    IS ANYBODY THERE?
    refund
    unknown_agent
"""

from __future__ import annotations

from celery_agents import Client
from celery_agents.errors import AgentsError

with Client() as agents:
    print(agents.ask("shout", "hello").get(timeout=60))

    # The second candidate answers, since the first is away.
    run = agents.fallback(["down", "shout"], "is anybody there?", retry={"max_attempts": 1})
    print(run.get(timeout=60))

    decision = agents.vote(["nouns", "verbs", "tone"], "I paid twice, give my money back!")
    print(decision.get(timeout=60).option)

    try:
        agents.ask("nobody", "hello").get(timeout=60)
    except AgentsError as error:
        print(error.kind)
