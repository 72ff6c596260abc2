"""Finding tools by words, where there are too many to tell a model of all of them.

Ranked by BM25 (Robertson and Zaragoza, 2009, eq. 3.15) over a tool's name, description, and the
names of its parameters, whose words count three, two and one times (BM25F's simple form). Where
static vectors are installed (:mod:`agents.tools.vectors`), what is near counts, too. It is
deterministic: the same tools and words give the same list, so a later attempt is told the same.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from agents.tools.calls import ToolCall, ToolResult, ToolSpec
from agents.tools.vectors import Nearness, StaticVectors, static_vectors
from celery_agents.contracts.base import Contract

#: With more tools than this a model searches those of toolsets.
SEARCHED_ABOVE = 30
#: Tools that one search finds, at the most.
_FOUND_MAX = 20
_FOUND = 5
#: How much words of the name, the description and the parameters count.
_NAME, _DESCRIPTION, _PARAMETERS = 3.0, 2.0, 1.0
#: Lucene's defaults.
_K1, _B = 1.2, 0.75
#: Characters of a description in what a search tells.
_TOLD = 200
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_ENDINGS = ("ings", "ing", "ies", "ied", "ers", "es", "ed", "er", "s")
_SHORTEST = 3
#: Words of English that say nothing of a tool.
_STOP = frozenset(
    """
    a an and are as at be by can for from given has have how i in into is it its me my of on or that
    the their this to was what when where which will with would you your
    """.split()  # noqa: SIM905 - a list of them would have three times the lines
)


def words_of(text: str) -> Iterator[str]:
    """The words of a text or a name, without endings; ``listRepos``, ``list_repos``: two."""
    for found in _WORD.findall(text):
        word = found.lower()
        if word not in _STOP:
            yield _stem(word)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            stem = word[: -len(ending)]
            return f"{stem}y" if ending in {"ies", "ied"} else stem
    return word


class ToolIndex:
    """Tools by their words, and by ``vectors`` where there are any."""

    def __init__(self, specs: Iterable[ToolSpec], vectors: StaticVectors | None = None) -> None:
        self.specs = tuple(specs)
        self._postings: dict[str, list[tuple[int, float]]] = {}
        lengths: list[float] = []
        for place, spec in enumerate(self.specs):
            weights = _weights(spec)
            lengths.append(sum(weights.values()))
            for word, weight in weights.items():
                self._postings.setdefault(word, []).append((place, weight))
        mean = sum(lengths) / len(lengths) if lengths else 1.0
        self._norms = [_K1 * (1 - _B + _B * length / (mean or 1.0)) for length in lengths]
        self._near = None if vectors is None else Nearness(vectors, [*map(_text, self.specs)])

    def find(self, query: str, most: int) -> list[ToolSpec]:
        """The tools that fit best; of equals those that stand first."""
        scores = self._by_words(query)
        if self._near is not None:
            best = self._near.fused(scores, query, most)
        else:
            best = heapq.nsmallest(most, scores, key=lambda place: (-scores[place], place))
        return [self.specs[place] for place in best]

    def _by_words(self, query: str) -> dict[int, float]:
        scores: defaultdict[int, float] = defaultdict(float)
        count = len(self.specs)
        for word in dict.fromkeys(words_of(query)):
            postings = self._postings.get(word, ())
            rarity = math.log(1 + (count - len(postings) + 0.5) / (len(postings) + 0.5))
            for place, weight in postings:
                scores[place] += rarity * weight / (weight + self._norms[place])
        return scores


class KeptIndex:
    """The index of the tools that were searched last: most steps of an agent have the same ones."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Any, ...], ToolIndex] = (), ToolIndex(())

    def of(self, specs: Sequence[ToolSpec]) -> ToolIndex:
        """The index of these tools; it takes about 0.2 ms a tool where they are others."""
        # All that is told of them: a toolset may list other parameters for another tenant.
        key = tuple((spec.name, spec.description, spec.parameters) for spec in specs)
        known, index = self._kept
        if key != known:
            index = ToolIndex(specs, static_vectors())
            self._kept = key, index
        return index


def _text(spec: ToolSpec) -> str:
    """The words of a tool whose vectors are compared."""
    name = " ".join(_WORD.findall(spec.name))
    return f"{name}. {spec.description}"


def _weights(spec: ToolSpec) -> dict[str, float]:
    weights: defaultdict[str, float] = defaultdict(float)
    parts = (
        (_NAME, spec.name),
        (_DESCRIPTION, spec.description),
        (_PARAMETERS, " ".join(_parameters(spec.parameters))),
    )
    for weight, text in parts:
        for word in words_of(text):
            weights[word] += weight
    return weights


def _parameters(schema: Mapping[str, Any]) -> Iterator[str]:
    """Names of the arguments, and what is said of them."""
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        yield str(name)
        if isinstance(inner, dict) and isinstance(inner.get("description"), str):
            yield inner["description"]


class _Search(Contract):
    query: Annotated[str, Field(min_length=1, max_length=500, description="What is to be done.")]
    limit: Annotated[int, Field(ge=1, le=_FOUND_MAX, strict=True)] = _FOUND


_SEARCH: TypeAdapter[_Search] = TypeAdapter(_Search)


class ToolSearch:
    """The tool with which a model looks for tools, and those that it has found."""

    name = "search_tools"

    def __init__(self, index: Callable[[], ToolIndex], count: int) -> None:
        """Look among ``count`` tools, in an index that is made when it is first asked for."""
        self._index = index
        self._found: dict[str, ToolSpec] = {}
        self.spec = ToolSpec(
            name=self.name,
            description=(
                f"Finds tools by what is to be done, among {count:,} that are not shown."
                " Those that it finds can be called next."
            ),
            parameters=_SEARCH.json_schema(),
        )

    @property
    def found(self) -> Sequence[ToolSpec]:
        """The tools that were found so far, in their order: they are offered from then on."""
        return tuple(self._found.values())

    def answer(self, call: ToolCall) -> ToolResult:
        """Answer a call of it."""
        try:
            asked = _SEARCH.validate_python(call.arguments)
        except ValidationError:
            told = f'Say {{"query": "what is to be done"}}, with a limit of up to {_FOUND_MAX}.'
            return ToolResult(call=call, value=told, failed=True)
        specs = self._index().find(asked.query, asked.limit)
        self._found |= {spec.name: spec for spec in specs}
        if not specs:
            return ToolResult(call=call, value="No tool fits these words. Try others.")
        told_of = [{"name": s.name, "description": s.description[:_TOLD]} for s in specs]
        return ToolResult(call=call, value=told_of)
