"""Policies that any step can carry. A policy is a value; the functions that decide are pure."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, StrictBool, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.base import Contract, HttpUrl, SecretName, Whole, also

#: Refused calls are backed off from and up to so many seconds at the least.
REFUSED_S = (0.1, 10.0)


class RetryPolicy(Contract):
    """When and how often a step is tried again after a retryable error.

    The wait before attempt *n + 1* is drawn uniformly from 0 to
    ``min(max_delay_s, base_delay_s * 2 ** (n - 1))`` seconds ("full jitter", M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A ``Retry-After`` of the
    other side is a lower bound of the wait, itself bounded by ``max_retry_after_s``.

    ``max_attempts`` counts every claim of the step, those whose worker died included, but not
    those that were refused: by a rate limit or an open breaker.
    """

    max_attempts: Annotated[int, Field(ge=1, le=100), Whole] = 4
    base_delay_s: Annotated[float, Field(ge=0, le=3600, strict=True)] = 0.5
    max_delay_s: Annotated[float, Field(ge=0, le=24 * 3600, strict=True)] = 30.0
    max_retry_after_s: Annotated[float, Field(ge=0, le=24 * 3600, strict=True)] = 3600.0

    def delay_s(
        self, attempt: int, *, rng: random.Random, retry_after_s: float | None = None
    ) -> float | None:
        """Seconds to wait after failed ``attempt`` (from 1), or None when it was the last one."""
        if attempt >= self.max_attempts:
            return None
        backoff = _backoff_s(self.base_delay_s, self.max_delay_s, attempt)
        return self._asked_s(retry_after_s) + rng.uniform(0.0, backoff)

    def refused_delay_s(
        self, tries: int, *, rng: random.Random, retry_after_s: float | None, within_s: float
    ) -> float | None:
        """Seconds to wait after a refusal, the last of ``tries``; None when ``within_s`` is over.

        Jitter is drawn from what is left after ``retry_after_s``. It grows with ``tries`` even
        where the policy allows no backoff, since nothing else bounds how often it is tried.
        """
        left = within_s - self._asked_s(retry_after_s)
        if left <= 0:
            return None
        base, longest = max(self.base_delay_s, REFUSED_S[0]), max(self.max_delay_s, REFUSED_S[1])
        backoff = _backoff_s(base, longest, tries)
        return self._asked_s(retry_after_s) + rng.uniform(0.0, min(backoff, left))

    def _asked_s(self, retry_after_s: float | None) -> float:
        return min(max(retry_after_s or 0.0, 0.0), self.max_retry_after_s)


def _backoff_s(base_s: float, longest_s: float, count: int) -> float:
    return min(longest_s, base_s * 2.0 ** min(count - 1, 60))


#: Of the step that tells of an end: at once, within seconds of a restart, for hours after that.
#: The waits are seven hours on average, and fourteen at the most.
DELIVERY = RetryPolicy(max_attempts=15, base_delay_s=5.0, max_delay_s=4 * 3600.0)
Ending = Literal["succeeded", "failed", "cancelled", "dead"]


class Webhook(Contract):
    """A receiver that is told of the end of a run, by HTTP. A plain string is the URL.

    It gets ``POST`` with a JSON object ``{"type", "timestamp", "data"}``, signed as the Standard
    Webhooks specification says (github.com/standard-webhooks), until it answers with 2xx: more
    than once, should its answer get lost, under the same ``webhook-id`` and with the same body.
    """

    url: HttpUrl
    #: The name of the secret that signs, one of the service's; by default its first one.
    secret: SecretName | None = None
    #: The ends that are told.
    on: Annotated[tuple[Ending, ...], Field(min_length=1)] = (
        "succeeded",
        "failed",
        "cancelled",
        "dead",
    )
    #: Whether the answer goes along: else there is its run's id to ask for it.
    value: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str) else given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return also(core_schema, handler, HttpUrl)
