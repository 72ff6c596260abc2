"""What the bench compares with: Celery with settings that people use, and nothing of ours."""

import os

from celery import Celery

app = Celery("bare", broker=os.environ["BARE_URL"], backend=os.environ["BARE_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4)


@app.task
def noop(value: int) -> int:
    return value
