"""A vote of two agents; its answer on a line."""

from celery_agents import Client

with Client() as agents:
    decision = agents.vote(["shout", "shout"], "hi", stop="none").get(timeout=60)
    print(decision.option, decision.tally)
