"""A lead has members that are made for the task, and the report says who did what (docs/teams.md).

It prints:

    ['parcels (Be terse: short and to the point.)', 'PARCELS']
    conductor -
    writer poet
    shout -
    ['are_1', 'conductor', 'late_2', 'parcels_0', 'staffing']
"""

from __future__ import annotations

from celery_agents import AgentSpec, Client

WRITER = AgentSpec(base="poet", name="writer", traits={"terse": 0.5})

with Client() as agents:
    # A registered agent, narrowed for this task, and one as it is.
    report = agents.team("conductor", "parcels", members=[WRITER, "shout"]).get(timeout=60)
    print(report.value)
    for part in report.parts:
        print(part.agent, part.base or "-")

    # An agent says who the members are: a function here, or a model.
    run = agents.team("conductor", "parcels are late", members="staffing", max_steps=10)
    print(sorted(part.agent for part in run.get(timeout=60).parts))
