"""Policies that any step can carry. A policy is a value; the functions that decide are pure."""

from __future__ import annotations

import random
from typing import Annotated

from pydantic import Field

from celery_agents.contracts.base import Contract, Whole


class RetryPolicy(Contract):
    """When and how often a step is tried again after a retryable error.

    The wait before attempt *n + 1* is drawn uniformly from 0 to
    ``min(max_delay_s, base_delay_s * 2 ** (n - 1))`` seconds ("full jitter", M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A ``Retry-After`` of the
    other side is a lower bound of the wait, itself bounded by ``max_retry_after_s``.

    ``max_attempts`` counts every claim of the step, those whose worker died included.
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
        return self.wait_s(attempt, rng=rng, retry_after_s=retry_after_s)

    def wait_s(self, attempt: int, *, rng: random.Random, retry_after_s: float | None) -> float:
        """Seconds to wait after ``attempt`` (from 1), however many there may be."""
        ceiling = min(self.max_delay_s, self.base_delay_s * 2.0 ** min(attempt - 1, 60))
        wait = rng.uniform(0.0, ceiling)
        if retry_after_s is not None:
            wait += min(max(retry_after_s, 0.0), self.max_retry_after_s)
        return wait
