"""The interval of a share."""

from __future__ import annotations

import math

#: Of a normal distribution, 95 % lie within so many deviations.
BOTH_95 = 1.959963984540054


def share_interval(share: float, count: int, deviations: float = BOTH_95) -> tuple[float, float]:
    """Return where the true share lies that was seen so among ``count`` (E. B. Wilson, 1927).

    ``deviations``: those of a normal distribution that the interval takes in.
    """
    size = 1 + deviations**2 / count
    middle = (share + deviations**2 / (2 * count)) / size
    spread = math.sqrt(share * (1 - share) / count + deviations**2 / (4 * count**2))
    half = deviations * spread / size
    return max(middle - half, 0.0), min(middle + half, 1.0)
