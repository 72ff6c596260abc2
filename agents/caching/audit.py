"""How wrong similar answers are, by those that were asked all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from celery_agents.intervals import share_interval

#: The quantile of the normal distribution: one time in ten the error is below the bound.
_Z = 1.2816


def least_share(wrong: int, of: int) -> float:
    """The lower bound of a share that was seen so (E. B. Wilson, 1927), 90 % sure on its side."""
    return share_interval(wrong / of, of, _Z)[0] if of else 0.0


@dataclass(frozen=True, slots=True)
class Audit:
    """Answers of similar questions that were compared with new ones."""

    compared: int = 0
    wrong: int = 0
    off: bool = False

    @classmethod
    def read(cls, memo: dict[str, Any]) -> Self:
        """The audit of a memo; of an empty one nothing was compared."""
        return cls(memo.get("compared", 0), memo.get("wrong", 0), memo.get("off", False))

    def compact(self) -> dict[str, Any]:
        """The audit as a memo."""
        return {"compared": self.compared, "wrong": self.wrong, "off": self.off}

    def after(self, *, same: bool, max_error: float, proving: int) -> Audit:
        """The audit with one more; off, where more than ``max_error`` were wrong while ``proving``.

        Later, when few are compared, once the error is above that in all likelihood. While it is
        proving itself nothing is served, so nothing is decided by a few.
        """
        compared, wrong = self.compared + 1, self.wrong + (not same)
        fails = wrong > max_error * compared if compared == proving else False
        fails = fails or (compared >= proving and least_share(wrong, compared) > max_error)
        off = self.off or fails
        return replace(self, compared=compared, wrong=wrong, off=off)

    def is_due(self, share: float, proving: int, draw: float) -> bool:
        """Return whether the next one is asked all the same: each at first, then a ``share``."""
        return self.compared < proving or draw < share
