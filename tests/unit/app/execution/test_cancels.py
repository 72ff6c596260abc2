from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.execution.cancels import Cancellations


class Listening:
    """A consumer of kombu's, as far as it is ended."""

    def __init__(self) -> None:
        self.ended = 0
        self.channel = None

    def cancel(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("how", ["stop", "shutdown"])
def test_it_ends_with_its_connection(how: str) -> None:
    """Celery stops the steps again, once the connection is lost."""
    errors = SimpleNamespace(connection_errors=(OSError,), channel_errors=())
    consumer = SimpleNamespace(connection=errors)
    step: Any = Cancellations(consumer)
    listening = Listening()
    step.consumers = [listening]
    getattr(step, how)(consumer)
    assert listening.ended == (how == "stop")
    consumer.connection = None
    getattr(step, how)(consumer)
