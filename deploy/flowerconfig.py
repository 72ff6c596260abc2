"""Flower's settings: columns that read as runs, and what it must not show.

Flower shows what the events carry. Arguments are cut and redacted where they are published
(celery_agents.wire.shown), so the API shows no more than the pages. ``format_task`` shortens, and
with AGENTS_UI_URL a task's page names the address of its run.
Set FLOWER_BASIC_AUTH ("user:password") in the environment; /metrics and /healthcheck answer
without it, so Flower listens on loopback unless it is told otherwise. Run as a module, this prints
where it is, for ``--conf``.
"""

import os
from typing import Any

from celery_agents.names import STEP_TASKS

# The columns that tell a run's story, in reading order.
tasks_columns = "name,uuid,state,args,kwargs,result,received,runtime,worker"
natural_time = True
max_tasks = 20_000
enable_events = True
if "FLOWER_BASIC_AUTH" in os.environ:
    basic_auth = [os.environ["FLOWER_BASIC_AUTH"]]

_SHOWN = 160
_ui = os.environ.get("AGENTS_UI_URL", "").rstrip("/")


def format_task(task: Any) -> Any:
    """Shorten what would make a row unreadable (payload-free args, long results); name its run."""
    task.args = _short(task.args)
    task.kwargs = _short(task.kwargs)
    task.result = _short(task.result)
    if _ui and task.name in STEP_TASKS:
        task.run = f"{_ui}/runs/{task.root_id or task.uuid}"
        task._fields = (*task._fields, "run")
    return task


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


if __name__ == "__main__":
    print(__file__)
