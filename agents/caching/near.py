"""The nearest of some vectors, exactly: by the cosine with each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

#: Vectors of one agent, tenant and kind of request; above that a vector store is the tool.
MOST = 10_000


class Near:
    """Vectors with their keys and texts, all of one dimension, so many at the most."""

    def __init__(self, dimension: int) -> None:
        self._rows = np.zeros((64, dimension), dtype=np.float32)
        self._keys: list[str] = []
        self._texts: list[str] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, key: str, vector: bytes, text: str) -> None:
        """Add a vector that is normalised; one of another dimension is left out."""
        row = np.frombuffer(vector, dtype=np.float32)
        if row.shape[0] != self._rows.shape[1]:
            return
        self.drop(key)
        if len(self._keys) == MOST:
            self.drop(self._keys[0])
        if len(self._keys) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        place = len(self._keys)
        self._rows[place] = row
        self._keys.append(key)
        self._texts.append(text)
        self._places[key] = place

    def drop(self, key: str) -> None:
        """Forget one; the last one takes its place."""
        place = self._places.pop(key, None)
        if place is None:
            return
        key, text = self._keys.pop(), self._texts.pop()
        if place < len(self._keys):
            self._rows[place] = self._rows[len(self._keys)]
            self._keys[place], self._texts[place] = key, text
            self._places[key] = place

    def above(self, vector: bytes, threshold: float) -> Iterator[tuple[str, str]]:
        """Keys and texts of those at least so near, the nearest first."""
        row = np.frombuffer(vector, dtype=np.float32)
        if row.shape[0] != self._rows.shape[1]:
            return
        cosines = self._rows[: len(self._keys)] @ row
        found = np.flatnonzero(cosines >= threshold)
        for place in found[np.argsort(-cosines[found], kind="stable")].tolist():
            yield self._keys[place], self._texts[place]


def normalised(value: Any) -> bytes:
    """A vector of length 1, as 32-bit floats.

    Raises:
        ValueError: it is no list of finite numbers, or has no direction.
    """
    plain = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 1
    if not plain or not all(type(x) in (int, float) for x in value):
        raise ValueError("no list of numbers")
    try:
        row = np.asarray(value, dtype=np.float64)
    except OverflowError:
        raise ValueError("a number that is too large") from None
    length = float(np.linalg.norm(row))
    if not np.isfinite(length) or length == 0:
        raise ValueError("a vector without a direction")
    return (row / length).astype(np.float32).tobytes()
