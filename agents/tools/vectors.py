"""Vectors of texts by a table of the parts of words, where the extra ``vectors`` is installed.

A text's vector is the mean of those of its parts: no network, and no model that computes. The
table is that of WordLlama's wheel (github.com/dleemiller/WordLlama, MIT). Its files are read here,
and not by the package, which looks at a hub for what it does not find, and sets up logging when it
is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from celery_agents.noted import note

log = logging.getLogger(__name__)

_PACKAGE = "wordllama"
_TABLE = "weights/l2_supercat_256.safetensors"
_PARTS = "tokenizers/l2_supercat_tokenizer_config.json"
#: Parts of a text that count: a tool's description that is longer says no more of it.
_PARTS_MAX = 256
#: How much words count beside vectors, and thousandths of a cosine from which on these do alone.
_WORDS_PERCENT, _NEAR = 60, 350


class StaticVectors:
    """Makes vectors of texts.

    Args:
        parts: tells the parts of texts by their numbers (``tokenizers.Tokenizer``).
        table: a row of numbers for each part.
    """

    def __init__(self, parts: Any, table: Any) -> None:
        self._parts = parts
        self._table = table

    def of(self, texts: Sequence[str]) -> Any:
        """The vectors of texts, each of length one; zeros for a text without a known part."""
        import numpy as np

        told = self._parts.encode_batch([*texts], add_special_tokens=False)
        found = np.zeros((len(told), self._table.shape[1]), dtype=np.float32)
        for place, one in enumerate(told):
            if ids := one.ids[:_PARTS_MAX]:
                mean = self._table[ids].mean(axis=0, dtype=np.float32)
                found[place] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return found


class Nearness:
    """Texts whose vectors are compared with that of a question."""

    def __init__(self, vectors: StaticVectors, texts: Sequence[str]) -> None:
        self._vectors = vectors
        self._rows = vectors.of(texts)

    def of(self, question: str) -> Any:
        """The cosine of each text in thousandths, so that machines agree on them."""
        import numpy as np

        # Not by BLAS, whose sums differ from machine to machine, and which takes other threads.
        cosines = np.einsum("ij,j->i", self._rows, self._vectors.of([question])[0])
        return np.rint(1_000 * cosines).astype(np.int64)

    def fused(self, words: Mapping[int, float], question: str, most: int) -> list[int]:
        """The places of the texts that fit best by scores of words, and by their vectors.

        Both are measured by the best of them, in whole numbers, of which small differences of
        machines change none. What has no word of the question has to be near to it.
        """
        import numpy as np

        near = self.of(question)
        scores = np.zeros(len(near), dtype=np.int64)
        if words:
            best = max(words.values())
            found = np.rint(1_000 * np.array([*words.values()]) / best).astype(np.int64)
            scores[[*words]] = _WORDS_PERCENT * found
        fits = (near >= _NEAR) | (scores > 0)
        if len(near) and (nearest := int(near.max())) > 0:
            scores += (100 - _WORDS_PERCENT) * (1_000 * near // nearest)
        places = np.flatnonzero(fits)
        order = np.argsort(-scores[places], kind="stable")[:most]
        return [int(place) for place in places[order]]


@cache
def static_vectors() -> StaticVectors | None:
    """Those of the wheel; None where the extra is not installed, or has other files."""
    try:
        found = find_spec(_PACKAGE)
        places = None if found is None else found.submodule_search_locations
        return _read(Path(places[0])) if places else None
    except Exception as error:  # noqa: BLE001 - readers of broken files raise what they like
        note(log, "vectors", "Tools are searched by words alone", error=error)
        return None


def _read(folder: Path) -> StaticVectors:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    (table,) = load_file(folder / _TABLE).values()
    parts = Tokenizer.from_file(str(folder / _PARTS))
    parts.no_padding()
    parts.no_truncation()
    if table.ndim != 2 or len(table) < parts.get_vocab_size():  # noqa: PLR2004 - rows of numbers
        raise ValueError("its table has no row for some parts of words")
    return StaticVectors(parts, table)
