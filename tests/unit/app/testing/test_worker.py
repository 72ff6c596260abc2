from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.testing.worker import StackWorker
from celery_agents.errors import ConfigurationError


def test_a_worker_that_does_not_start_says_why(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    lines = [*(f"  File {n}, in {'x' * 200}" for n in range(40)), "ConfigurationError: no tool"]
    log.write_text("\n".join(lines))
    worker = StackWorker(env={}, cwd=tmp_path, log=log)
    worker._pids, told = os.pipe()
    os.close(told)  # the process that forks has ended
    with pytest.raises(ConfigurationError, match="did not start") as caught:
        worker.wait_ready()
    os.close(worker._pids)
    assert caught.value.message.endswith("ConfigurationError: no tool")
