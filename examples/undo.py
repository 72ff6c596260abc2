"""An order whose last part fails: what was done is undone, the last first (docs/deciding.md).

It prints:

    failed: Only 2 of 3 agents answered.
    charge is undone by pay_back
    reserve is undone by release
"""

from __future__ import annotations

from celery_agents import Client, PermanentError

with Client() as agents:
    run = agents.gather(["reserve", "charge", "ship"], {"number": 7}, at_least=3)
    try:
        run.get(timeout=60)
    except PermanentError as error:
        print(f"failed: {error}")
    for one in run.compensation.get(timeout=60)["compensated"]:
        print(f"{one['agent']} is undone by {one['by']}")
