"""Tools that are found by static vectors beside their words."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents.tools import vectors
from agents.tools.calls import ToolSpec
from agents.tools.search import KeptIndex, ToolIndex
from agents.tools.vectors import Nearness, StaticVectors, static_vectors
from celery_agents.noted import Notes

#: Words with what they are about: money, letters, weather.
WORDS = {
    **dict.fromkeys(("refund", "reimburse", "money"), (1.0, 0.0, 0.0)),
    **dict.fromkeys(("mail", "letter", "send"), (0.0, 1.0, 0.0)),
    **dict.fromkeys(("rain", "forecast"), (0.0, 0.0, 1.0)),
    "the": (0.1, 0.1, 0.1),
}
PLACES = {word: place for place, word in enumerate(WORDS)}


class Parts:
    """Tells the words of a text that the table has."""

    def encode_batch(self, texts: list[str], *, add_special_tokens: bool) -> list[Any]:
        assert not add_special_tokens
        return [
            SimpleNamespace(ids=[PLACES[w] for w in text.lower().split() if w in PLACES])
            for text in texts
        ]


VECTORS = StaticVectors(Parts(), np.array([*WORDS.values()], dtype=np.float32))


def spec(name: str, description: str) -> ToolSpec:
    return ToolSpec(name=name, description=description, parameters={})


SPECS = [
    spec("pay", "refund money"),
    spec("post", "send the letter"),
    spec("weather", "rain forecast"),
    spec("other", "mends hedges"),
]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    static_vectors.cache_clear()
    yield
    static_vectors.cache_clear()


def test_cosines_are_told_in_thousandths() -> None:
    near = Nearness(VECTORS, ["refund money", "refund mail", "hedges", ""])
    assert near.of("reimburse").tolist() == [1_000, 707, 0, 0]
    assert near.of("hedges").tolist() == [0, 0, 0, 0]


def test_other_words_than_those_of_a_tool_find_it() -> None:
    assert ToolIndex(SPECS).find("reimburse the buyer", 5) == []
    found = ToolIndex(SPECS, VECTORS).find("reimburse the buyer", 5)
    assert [one.name for one in found] == ["pay"]


def test_words_count_more_than_what_is_near() -> None:
    found = ToolIndex(SPECS, VECTORS).find("hedges reimburse", 5)
    assert [one.name for one in found] == ["other", "pay"]


def test_of_those_with_the_same_words_the_nearer_one_is_first() -> None:
    twins = [spec("a", "acts for rain"), spec("b", "acts for letter")]
    assert [s.name for s in ToolIndex(twins, VECTORS).find("acts mail", 5)] == ["b", "a"]
    assert [s.name for s in ToolIndex(twins).find("acts mail", 5)] == ["a", "b"]


def test_no_tools_and_no_known_words() -> None:
    assert ToolIndex([], VECTORS).find("mail", 5) == []
    assert ToolIndex(SPECS, VECTORS).find("☃", 5) == []


def test_indexes_take_them_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.tools.search.static_vectors", lambda: VECTORS)
    assert [one.name for one in KeptIndex().of(SPECS).find("reimburse", 5)] == ["pay"]
    monkeypatch.setattr("agents.tools.search.static_vectors", lambda: None)
    assert KeptIndex().of(SPECS).find("reimburse", 5) == []


def test_without_the_package_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "find_spec", lambda _: None)
    assert static_vectors() is None


class PartsFile(Parts):
    """A file with as many parts of words as the table has rows."""

    @classmethod
    def from_file(cls, _: str) -> PartsFile:
        return cls()

    def no_padding(self) -> None: ...

    def no_truncation(self) -> None: ...

    def get_vocab_size(self) -> int:
        return len(WORDS)


def installed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, load: Callable[[Path], dict[str, Any]]
) -> None:
    """Have the package stand in a folder, with a reader of its table."""
    found = ModuleSpec("wordllama", None, is_package=True)
    found.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(vectors, "find_spec", lambda _: found)
    monkeypatch.setattr(vectors, "note", Notes().note)
    for name, parts in {
        "safetensors": {},
        "safetensors.numpy": {"load_file": load},
        "tokenizers": {"Tokenizer": PartsFile},
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**parts))  # type: ignore[arg-type]


def test_the_files_of_the_package_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, tmp_path, lambda _: {"table": np.array([*WORDS.values()])})
    found = static_vectors()
    assert found is not None
    assert found.of(["rain"]).tolist() == [[0.0, 0.0, 1.0]]


def missing(path: Path) -> dict[str, Any]:
    """Read what is not there."""
    return {"table": path.read_bytes()}


def broken(_: Path) -> dict[str, Any]:
    """Read as those of Rust do: their errors are of no kind of Python's."""
    raise Exception("header too small")  # noqa: TRY002 - as it is raised


@pytest.mark.parametrize(
    "load",
    [
        missing,
        broken,
        lambda _: {},
        lambda _: {"one": np.eye(9), "another": np.eye(9)},
        lambda _: {"table": np.eye(3)},  # fewer rows than parts
        lambda _: {"table": np.ones(99)},
    ],
)
def test_a_package_without_a_table_that_fits_is_noted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    load: Callable[[Path], dict[str, Any]],
) -> None:
    installed(monkeypatch, tmp_path, load)
    with caplog.at_level(logging.WARNING):
        assert static_vectors() is None
    assert "by words alone" in caplog.text
