"""One of each: an ask, a map, a flow; each answer on a line."""

import sys

from celery_agents import Client

with Client() as agents:
    print(agents.ask("version", "x").get(timeout=60), "{}.{}".format(*sys.version_info))
    found = agents.map("shout", [f"n{n}" for n in range(10)], max_concurrent=3).get(timeout=60)
    print(found.succeeded, found.results[9])
    print(agents.start("both", "hi").get(timeout=60))
