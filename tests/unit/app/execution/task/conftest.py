"""Steps of functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery

from app.execution.task import StepTask
from celery_agents.contracts.ask import StepOptions
from tests.unit.app.execution.task.support import Run


@pytest.fixture
def make(app: Celery) -> Callable[[Run], StepTask]:
    """Makes a task of a function."""

    def make(run: Run, request_type: type[StepOptions] = StepOptions) -> StepTask:
        task: StepTask = app.task(
            run, base=StepTask, name=f"test.{run.__name__}", request_type=request_type, shared=False
        )
        return task

    return make
