"""The sizes of an agent's requests and answers in tokens, learned from those that it has made.

Each model cuts texts in a way of its own, and each agent has texts of its own. So each kind of
piece (:mod:`agents.governance.pieces`) has a factor for each agent, which moves with the tokens
that its provider counts: a Kalman filter of the factors' logarithms (R. Kalman, "A New Approach to
Linear Filtering and Prediction Problems", 1960), without the covariances of pairs. Its variances
say how much is known of each kind: of text in a script that an agent has never had, an estimate has
a wide margin, and of what it has each day a narrow one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import ConfigDict, Field

from agents.governance.pieces import TOKENS, Pieces
from celery_agents.contracts.base import Contract

#: Variances before anything was learned: of a kind's factor, and of what no factor explains. And
#: what a factor may move by from one request to the next.
_VARIANCE, _NOISE, _DRIFT = 0.6**2, 0.15**2, 0.0003
#: Of the noise, what a request replaces at least; below this it is not believed.
_RATE, _LEAST_NOISE = 0.05, 0.02**2
#: Short texts vary more: this many tokens stand beside each.
_CUSHION = 20.0
#: Standard deviations that an estimate lies above what is likely: fewer than 1 in 100 requests are
#: larger (test_measured.py; the errors have longer tails than a normal distribution's, of which it
#: would be 2.33).
_DEVIATIONS = 2.8
#: One request moves the logarithm of a factor by no more than this; and the bounds of factors.
_STEP, _FACTORS = 1.0, (0.05, 20.0)
#: Answers of which the sizes are kept, and the share of them that is not larger than an estimate.
_OUTPUTS, _OUTPUT_SHARE = 64, 0.95
#: What one request replaces of the share that is read from the cache.
_CACHED_RATE = 0.1
#: Tokens of an answer before there was one: two pages, more than most answers have. What is too
#: much a limit has again once the answer is there; with too few, windows and limits are overrun.
OUTPUT_TOKENS = 1_000


class Observed(NamedTuple):
    """A request that was made: its pieces, and what its provider counted."""

    pieces: Pieces
    input: int
    output: int
    cache_write: int = 0
    cache_read: int = 0


class Sizes(Contract):
    """The lessons of one agent's requests. What a later version has learned beside is left out."""

    model_config = ConfigDict(extra="ignore")

    #: Requests that it has learned from.
    calls: int = 0
    #: Of each kind that occurred, its factor and the variance of that.
    kinds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    noise: float = _NOISE
    #: The newest answers' tokens.
    outputs: tuple[int, ...] = ()
    #: Whether its provider has ever written to its cache.
    writes_cache: bool = False
    #: The share of its input that was read from there, of the newest requests most.
    cached: float = 0.0

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """Read lessons from their JSON object."""
        return cls.model_validate(data)

    def likely(self, pieces: Pieces) -> int:
        """Tokens of a request of these pieces, as likely too few as too many; at least 1."""
        return max(1, round(self._tokens(pieces)))

    def most(self, pieces: Pieces) -> int:
        """Tokens that fewer than 1 in 100 requests of these pieces exceed."""
        shares = self._by_kind(pieces)
        tokens = sum(shares.values())
        own = sum(self._known(kind)[1] * share**2 for kind, share in shares.items())
        margin = _DEVIATIONS * math.sqrt(own + self.noise * (tokens + _CUSHION) ** 2)
        return max(1, math.ceil(tokens + margin))

    def output(self, at_most: int | None) -> int:
        """Tokens of the next answer: no more in 95 of 100, and never more than it may have."""
        newest = sorted(self.outputs)
        usual = newest[math.ceil(_OUTPUT_SHARE * len(newest)) - 1] if newest else OUTPUT_TOKENS
        return usual if at_most is None else min(usual, at_most)

    def after(self, seen: Observed) -> Self:
        """Return the lessons after one more request."""
        shares = self._by_kind(seen.pieces)
        tokens = sum(shares.values()) + _CUSHION
        error = _bounded(math.log((seen.input + _CUSHION) / tokens), _STEP)
        pulls = {kind: self._known(kind)[1] * share / tokens for kind, share in shares.items()}
        own = sum(pull * shares[kind] / tokens for kind, pull in pulls.items())
        whole = own + self.noise
        step = error / whole
        kinds = dict(self.kinds)
        for kind, pull in pulls.items():
            factor, variance = self._known(kind)
            move = math.exp(_bounded(pull * step, _STEP))
            moved = min(max(factor * move, _FACTORS[0]), _FACTORS[1])
            narrowed = variance - pull * pull / whole + _DRIFT
            kinds[kind] = (moved, min(narrowed, _VARIANCE))
        # An error that unknown factors explain says little of the noise.
        rate = max(_RATE, 1 / (self.calls + 6)) * self.noise / whole
        noise = self.noise + rate * (max(error**2 - own, _LEAST_NOISE) - self.noise)
        return self.model_copy(
            update={
                "calls": self.calls + 1,
                "kinds": kinds,
                "noise": noise,
                "outputs": (*self.outputs, seen.output)[-_OUTPUTS:],
                "writes_cache": self.writes_cache or seen.cache_write > 0,
                "cached": self.cached + _CACHED_RATE * (_share_read(seen) - self.cached),
            }
        )

    def _known(self, kind: str) -> tuple[float, float]:
        return self.kinds.get(kind, (1.0, _VARIANCE))

    def _tokens(self, pieces: Pieces) -> float:
        return sum(self._by_kind(pieces).values())

    def _by_kind(self, pieces: Pieces) -> Mapping[str, float]:
        """Tokens of the pieces of each kind."""
        return {kind: TOKENS[kind] * self._known(kind)[0] * n for kind, n in pieces.items()}


#: What is known of requests that nothing was learned from: the one size of a token where no agent
#: has its own.
UNLEARNED = Sizes()


def _share_read(seen: Observed) -> float:
    return min(seen.cache_read / seen.input, 1.0) if seen.input > 0 else 0.0


def _bounded(number: float, most: float) -> float:
    return max(-most, min(most, number))
