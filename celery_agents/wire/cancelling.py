"""Telling workers of a cancellation at once; the journal holds it in any case.

It goes through an exchange of its own. Celery's remote control reaches the workers of all apps on a
broker, and those that do not know a command log an error.
"""

from __future__ import annotations

from typing import Any

from kombu import Exchange

#: Every worker of the service listens; nothing is kept for those that are not up.
EXCHANGE = Exchange("agents.cancels", type="fanout", durable=False)
#: What is said: the run to cancel, or steps that run somewhere and are to stop.
RUN, STEPS = "run", "steps"


def tell(producer: Any, what: dict[str, str | list[str]]) -> None:
    """Tell the workers that are up what is cancelled.

    Raises:
        kombu.exceptions.OperationalError
    """
    producer.publish(
        what, exchange=EXCHANGE, routing_key="", declare=[EXCHANGE], serializer="json", retry=False
    )
