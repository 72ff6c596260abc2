"""Recall of memories: how much of LoCoMo's evidence is found, and how long a large space takes.

    python -m bench.recall [locomo10.zip] [--only 26,30] [--bfcl FOLDER]
        [--memories 100000] [--elsewhere 1000000] [--embed MODULE:FUNCTION]

LoCoMo (A. Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", 2024;
CC BY-NC 4.0, so not in this repository) is had from github.com/snap-research/locomo, as
``data/locomo10.zip``. Its ten conversations become ten spaces; of the questions of categories 1 to
4 it is measured which share of the evidence is among the first ten memories, and whether any, and
all of it, is within 1,000 tokens. Beside stand the full-text searches of the databases themselves.
FOLDER is ``bfcl_eval/data`` of the package bfcl-eval (Apache-2.0): of BFCL v4's questions about
what five users have said before it is measured whether what is recalled within 512 tokens has the
answer's words. With ``--embed`` the same is measured with vectors beside the words: the function
takes a list of texts, and gives a row of numbers for each.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from pydoc import locate
from statistics import fmean, quantiles
from typing import Any

from sqlalchemy import Engine, insert, literal, select, text

from agents.caching.near import normalised
from agents.memory.sizes import tokens_of
from agents.memory.terms import terms_of
from app.journal.memory.weighing import MemoryQuestion
from app.journal.schema.engine import connect
from app.journal.schema.models import MemoryRow, MemorySpace, MemoryTerm, table
from app.journal.schema.rows import NewMemory, TextVector
from app.journal.stores.memories import MemoryStore
from bench.journals import journals
from celery_agents.contracts.memory import MemoryPolicy

Embed = Callable[[list[str]], Iterable[Iterable[float]]]
POLICY = MemoryPolicy(space="s", capacity_tokens=1_000_000_000)
FIRST, BUDGET_TOKENS, BFCL_TOKENS = 10, 1_000, 512
READ_TOKENS = 4 * BUDGET_TOKENS  # the first ten are within it, too
#: Of a space that is only measured for its speed: memories of so many words, of a vocabulary with
#: Zipf's frequencies behind that of stop words; questions of so many.
WORDS, ASKED, VOCABULARY, STOPPED = 20, 8, 50_000, 100
PORTION, QUESTIONS = 2_000, 200


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation: its turns by ids, each with its session, and questions with evidence."""

    name: str
    turns: dict[str, tuple[str, str]]
    questions: list[tuple[str, frozenset[str]]]


def read_locomo(path: Path) -> Iterator[Talk]:
    """Give the conversations of LoCoMo's archive."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if re.search(r"\d+\.json$", n)):
            yield _talk(Path(name).stem, json.loads(archive.read(name)))


def _talk(name: str, told: dict[str, Any]) -> Talk:
    turns: dict[str, tuple[str, str]] = {}
    for key in (k for k, v in told.items() if re.fullmatch(r"session_\d+", k) and v):
        for turn in told[key]:
            seen = f" [{turn['blip_caption']}]" if turn.get("blip_caption") else ""
            turns[turn["dia_id"]] = key, f"{turn['speaker']}: {turn['text']}{seen}"
    questions = [
        (str(q["question"]), found)
        for q in told["qa"]
        if q["category"] in {1, 2, 3, 4} and (found := _evidence(q, turns))
    ]
    return Talk(name, turns, questions)


def _evidence(question: dict[str, Any], turns: dict[str, Any]) -> frozenset[str]:
    ids = re.findall(r"D\d+:\d+", " ".join(question.get("evidence") or ()))
    return frozenset(i for i in ids if i in turns)


def made(embed: Embed | None, texts: list[str]) -> list[TextVector | None]:
    """The vectors of texts, of length one; none without an embedder."""
    if embed is None:
        return [None] * len(texts)
    return [TextVector("bench", normalised([*map(float, row)])) for row in embed(texts)]


def replace_vector(new: NewMemory, vector: TextVector | None) -> NewMemory:
    """The memory with its vector."""
    return replace(new, vector=vector)


class Figures:
    """Means over questions, by the way of searching."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[float, bool, bool]]] = defaultdict(list)

    def add(self, way: str, talk: Talk, ranked: Sequence[str], evidence: frozenset[str]) -> None:
        """Add what a search has given for one question, the best first."""
        budget, within = BUDGET_TOKENS, set[str]()
        for found in ranked:
            budget -= tokens_of(talk.turns[found][1], POLICY)
            if budget < 0:
                break
            within.add(found)
        share = len(evidence & set(ranked[:FIRST])) / len(evidence)
        self._found[way].append((share, bool(evidence & within), evidence <= within))

    def tell(self) -> None:
        """Print a line for each way."""
        print(f"{'':<28}{'questions':>10}{'recall@10':>11}{'any, 1,000':>12}{'all, 1,000':>12}")
        for way, found in self._found.items():
            means = [fmean(column) for column in zip(*found, strict=True)]
            print(f"{way:<28}{len(found):>10,}" + "".join(f"{m:>11.3f}" for m in means))


def quality(path: Path, embed: Embed | None = None, only: Sequence[str] = ()) -> None:
    """Print how much of the evidence is found, perhaps of some conversations ``only``."""
    talks, figures = [t for t in read_locomo(path) if t.name in only or not only], Figures()
    for database, url in journals():
        engine = connect(url)
        store = MemoryStore(engine)
        for talk in talks:
            _keep(store, talk, embed)
        for talk in talks:
            vectors = made(embed, [question for question, _ in talk.questions])
            for (question, evidence), vector in zip(talk.questions, vectors, strict=True):
                for way, told in _ways(talk.name, question, vector, READ_TOKENS).items():
                    ranked = [memory.id.partition("/")[2] for memory in store.recall(told)]
                    figures.add(f"{way}, {database}", talk, ranked, evidence)
        if database == "sqlite":
            _beside_sqlite(talks, figures)
        else:
            _beside_postgresql(engine, talks, figures)
        engine.dispose()
    figures.tell()


def read_bfcl(folder: Path) -> Iterator[Talk]:
    """Give the conversations of BFCL's users; of a question the answers that are right."""
    names = ("BFCL_v4_memory.json", "possible_answer/BFCL_v4_memory.json")
    asked, right = ([*_lines(folder / name)] for name in names)
    answers = {line["id"]: frozenset(line["ground_truth"]) for line in right}
    for path in sorted((folder / "memory_prereq_conversation").glob("memory_*.json")):
        user = path.stem.partition("_")[2]
        turns = {
            f"{place}/{n}": (told["id"], said[0]["content"])
            for place, told in enumerate(_lines(path))
            for n, said in enumerate(told["question"])
        }
        questions = [
            (line["question"][0][0]["content"], answers[line["id"]])
            for line in asked
            if line["scenario"] == user
        ]
        yield Talk(user, turns, questions)


def _lines(path: Path) -> Iterator[Any]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _has(told: str, answers: Iterable[str]) -> bool:
    """Return if one of the answers stands in a text, as BFCL itself compares them."""
    plain, *words = (re.sub(r"[,./\-_*^()]", "", one).lower() for one in (told, *answers))
    return any(re.search(rf"\b{re.escape(word)}\b", plain) for word in words)


def answers(folder: Path, embed: Embed | None = None) -> None:
    """Print how many of BFCL's answers stand in what is recalled."""
    talks = [*read_bfcl(folder)]
    for database, url in journals():
        engine = connect(url)
        store = MemoryStore(engine)
        found: dict[str, list[bool]] = defaultdict(list)
        for talk in talks:
            _keep(store, talk, embed)
            for question, right in talk.questions:
                [vector] = made(embed, [question])
                for way, told in _ways(talk.name, question, vector, BFCL_TOKENS).items():
                    text = "\n".join(memory.text for memory in store.recall(told))
                    found[way].append(_has(text, right))
        for way, had in found.items():
            print(
                f"BFCL, {way}, {database}: {len(had)} questions, {fmean(had):.3f} have the answer"
            )
        engine.dispose()


def _keep(store: MemoryStore, talk: Talk, embed: Embed | None) -> None:
    new = [_new(talk.name, i, *turn) for i, turn in talk.turns.items()]
    store.keep([*map(replace_vector, new, made(embed, [m.text for m in new]))])


def _ways(
    space: str, question: str, vector: TextVector | None, budget: int
) -> dict[str, MemoryQuestion]:
    """A question by words, and by vectors beside them where there is one."""
    asked = MemoryQuestion("", space, question, budget, POLICY.language)
    ways = {"memory": replace(asked, backend="sql")}
    if vector is not None:
        ways["with vectors"] = replace(asked, vector=vector)
    return ways


def _new(space: str, turn: str, session: str, told: str) -> NewMemory:
    size = tokens_of(told, POLICY)
    return NewMemory(f"{space}/{turn}", "", space, told, size, POLICY, thread=session)


def _beside_sqlite(talks: Sequence[Talk], figures: Figures) -> None:
    """Add FTS5 with its stemmer, asked for the same words."""
    for talk in talks:
        base = sqlite3.connect(":memory:")
        base.execute("CREATE VIRTUAL TABLE t USING fts5(id UNINDEXED, said, tokenize='porter')")
        base.executemany("INSERT INTO t VALUES (?, ?)", ((i, t[1]) for i, t in talk.turns.items()))
        for question, evidence in talk.questions:
            asked = " OR ".join(f'"{word}"' for word in terms_of(question, ""))
            rows = base.execute("SELECT id FROM t WHERE t MATCH ? ORDER BY bm25(t)", [asked])
            figures.add("FTS5", talk, [row[0] for row in rows], evidence)


def _beside_postgresql(engine: Engine, talks: Sequence[Talk], figures: Figures) -> None:
    """Add ts_rank of PostgreSQL, asked for any of the same words."""
    search = text(
        "SELECT id FROM said, to_tsquery('english', :asked) AS q WHERE talk = :talk AND v @@ q "
        "ORDER BY ts_rank(v, q) DESC, id"
    )
    insert = text("INSERT INTO said VALUES (:talk, :id, to_tsvector('english', :told))")
    with engine.begin() as c:
        c.execute(text("CREATE TEMP TABLE said (talk text, id text, v tsvector)"))
        for talk in talks:
            rows = [{"talk": talk.name, "id": i, "told": t[1]} for i, t in talk.turns.items()]
            c.execute(insert, rows)
            for question, evidence in talk.questions:
                asked = " | ".join(word for word in terms_of(question, ""))
                found = c.execute(search, {"asked": asked, "talk": talk.name})
                figures.add("ts_rank", talk, [row.id for row in found], evidence)


def speed(memories: int, dims: int, elsewhere: int) -> None:
    """Print how long a question takes in a space of so many memories, and beside other spaces."""
    chance = random.Random(1)
    words = [f"w{n}x{chance.randrange(10**6)}" for n in range(VOCABULARY)]
    sums = [*accumulate(1 / (n + STOPPED) for n in range(VOCABULARY))]
    drawn = partial(chance.choices, words, cum_weights=sums)
    texts = [" ".join(drawn(k=WORDS)) for _ in range(memories)]
    asked = [" ".join(drawn(k=ASKED)) for _ in range(QUESTIONS)]
    print(f"a question in a space of {memories:,} memories, milliseconds")
    for database, url in journals():
        store = MemoryStore(engine := connect(url))
        began = time.perf_counter()
        for at in range(0, memories, PORTION):
            some = enumerate(texts[at : at + PORTION], at)
            new = [NewMemory(str(n), "", "s", told, 40, POLICY) for n, told in some]
            store.keep([*map(replace_vector, new, drawn_vectors(dims, len(new), at))])
        each = 1_000 * (time.perf_counter() - began) / memories
        print(f"{database:<12} to keep one {each:.2f}")
        _ask(store, database, asked, dims)
        if elsewhere:
            _fill(engine, elsewhere)
            _ask(store, f"{database}, {elsewhere:,} elsewhere", asked, dims)
        engine.dispose()


def drawn_vectors(dims: int, number: int, seed: int) -> list[TextVector | None]:
    """Vectors of length one, by chance; none without ``dims``."""
    if not dims:
        return [None] * number
    import numpy as np

    rows = np.random.default_rng(seed).standard_normal((number, dims), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [TextVector("bench", row.tobytes()) for row in rows]


def _ask(store: MemoryStore, what: str, asked: Sequence[str], dims: int) -> None:
    """Ask, and print how long it took and what it cost of this process."""
    ways = {"words": drawn_vectors(0, len(asked), 0)}
    if dims:
        ways["words and vectors"] = drawn_vectors(dims, len(asked), 1)
    for way, vectors in ways.items():
        took, used = [], []
        for question, vector in zip([asked[0], *asked], [vectors[0], *vectors], strict=True):
            told = MemoryQuestion("", "s", question, BUDGET_TOKENS, POLICY.language, vector=vector)
            began, cpu = time.perf_counter(), time.process_time()
            store.recall(told)
            took.append(1_000 * (time.perf_counter() - began))
            used.append(1_000 * (time.process_time() - cpu))
        first, *took = took  # a process reads the vectors of a space once
        cuts = quantiles(took, n=20)
        line = f"{what}, {way}: p50 {cuts[9]:.1f}, p95 {cuts[18]:.1f}"
        print(f"{line}; own CPU p50 {quantiles(used[1:], n=2)[0]:.1f}; the first one {first:.0f}")


def _fill(engine: Engine, rows: int) -> None:
    """Add memories of other spaces, with the words of those that are there."""
    memory, term, space = (table(m) for m in (MemoryRow, MemoryTerm, MemorySpace))
    with engine.begin() as c:
        here = c.execute(select(space).where(space.c.name == "s")).one()
        for copy in range(-(-rows // here.memories)):
            own = {"space_id": literal(1_000_000 + copy), "id": literal(f"{copy}/") + memory.c.id}
            for of in (memory, term):
                told = {column.name: own.get(column.name, column) for column in of.columns}
                copied = select(*told.values()).where(of.c.space_id == here.id)
                c.execute(insert(of).from_select([*told], copied))
    if engine.dialect.name == "postgresql":  # as it would by itself, in time
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(text("VACUUM ANALYZE memories"))
            c.execute(text("VACUUM ANALYZE memory_terms"))


def main() -> None:
    """Measure what there is data for."""
    parser = argparse.ArgumentParser(description="Recall of memories.")
    parser.add_argument("locomo", nargs="?", type=Path, help="locomo10.zip")
    parser.add_argument("--only", default="", help="names of its conversations")
    parser.add_argument("--bfcl", type=Path, metavar="FOLDER", help="BFCL's data")
    parser.add_argument("--memories", type=int, default=100_000, help="of the large space; 0: none")
    parser.add_argument("--dims", type=int, default=256, help="of its vectors; 0: it has none")
    parser.add_argument("--elsewhere", type=int, default=0, help="memories of other spaces")
    parser.add_argument("--embed", metavar="MODULE:FUNCTION", help="makes vectors of texts")
    given = parser.parse_args()
    embed: Any = None if given.embed is None else locate(given.embed.replace(":", "."))
    if given.embed is not None and not callable(embed):
        parser.error(f"--embed: there is no {given.embed}")
    if given.locomo is None:
        print("Without LoCoMo's archive nothing is said of what is found; see the top of the file.")
    else:
        quality(given.locomo, embed, [*filter(None, given.only.split(","))])
    if given.bfcl is not None:
        answers(given.bfcl, embed)
    if given.memories:
        speed(given.memories, given.dims, given.elsewhere)


if __name__ == "__main__":
    main()
