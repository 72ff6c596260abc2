"""Flower's settings: columns that read as runs, and what it must not show.

Flower shows what the events carry. Arguments are cut and redacted where they are published
(celery_agents.wire.shown), so the API shows no more than the pages. ``format_task`` only shortens.
Set FLOWER_BASIC_AUTH ("user:password") in the environment; /metrics and /healthcheck answer
without it, so Flower listens on loopback unless it is told otherwise. Run as a module, this prints
where it is, for ``--conf``.
"""

import os
from typing import Any

# The columns that tell a run's story, in reading order.
tasks_columns = "name,uuid,state,args,kwargs,result,received,runtime,worker"
natural_time = True
max_tasks = 20_000
enable_events = True
if "FLOWER_BASIC_AUTH" in os.environ:
    basic_auth = [os.environ["FLOWER_BASIC_AUTH"]]

_SHOWN = 160


def format_task(task: Any) -> Any:
    """Shorten what would make a row unreadable: payload-free args, long results."""
    task.args = _short(task.args)
    task.kwargs = _short(task.kwargs)
    task.result = _short(task.result)
    return task


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


if __name__ == "__main__":
    print(__file__)
