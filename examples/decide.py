"""Rules, waves, escalation and gathering: how several answers become one (docs/deciding.md).

It prints:

    delivery 2 1
    delivery supervisor
    bike {'post': 3, 'bike': 4, 'courier': 2}
    6.0
"""

from __future__ import annotations

from celery_agents import Client

PANEL = ["nouns", "verbs", "tone"]
SPLIT = "Did my parcel get lost, or is it that I paid the wrong invoice?"

with Client() as agents:
    # Two agree, so the third is never asked.
    decision = agents.vote(PANEL, "My parcel did not arrive.", waves=2).get(timeout=60)
    print(decision.option, decision.samples_used, decision.samples_saved)

    # They differ, so the supervisor decides; it sees all ballots.
    run = agents.vote(PANEL, SPLIT, rule="unanimous", stop="none", escalate="lead")
    decision = run.get(timeout=60)
    print(decision.option, decision.decided_by)

    # Rankings: bike is second for two and first for one.
    carriers = ["post", "bike", "courier"]
    rankers = ["by_price", "by_speed", "by_climate"]
    run = agents.vote(rankers, "?", choices=carriers, rule="borda", stop="none")
    decision = run.get(timeout=60)
    print(decision.option, {k: int(v) for k, v in decision.scores.items()})

    # Not a vote: the median of three numbers.
    quotes = ["quote_post", "quote_bike", "quote_courier"]
    print(agents.gather(quotes, "2 kg", how="median").get(timeout=60).value)
