from __future__ import annotations

import time

import pytest

from agents.guarding.finding import merged
from agents.guarding.words import Words

FIND = Words(("damn", "project blue", "straße", "leak*"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Damn it", "Damn"),
        ("DAMN!", "DAMN"),
        ("d4mn", "d4mn"),
        ("dämn", "dämn"),
        ("ｄａｍｎ", "ｄａｍｎ"),  # noqa: RUF001 - wide letters
        ("d\u200bam\u200bn it", "d\u200bam\u200bn"),
        ("of Project  Blue.", "Project  Blue"),
        ("project-blue", "project-blue"),
        ("Pr0j3ct_Blue", "Pr0j3ct_Blue"),
        ("STRASSE 5", "STRASSE"),
        ("it was leaked", "leaked"),
        ("über dämn", "dämn"),
        ("project blue@", "project blue"),
        ("project blue$", "project blue"),
        ("@project$blue@x", "project$blue"),
        ("$$project @ blue$$", "project @ blue"),
        ("$traße", "$traße"),
        ("project" + " " * 40 + "blue", "project" + " " * 40 + "blue"),
        ("project \n\t - \u200b\u200b _ blue", "project \n\t - \u200b\u200b _ blue"),
        ("pro\x08ject\u3164 blue", "pro\x08ject\u3164 blue"),
        ("projec\u0442 \u042c b1ue project b\u217cue", "project b\u217cue"),  # numeral for l
        ("pr\u043eject bl\u03c5e pr\u043eject blu\u0435", "pr\u043eject blu\u0435"),
    ],
)
def test_is_found_however_it_is_written(text: str, found: str) -> None:
    (one,) = merged(FIND(text))
    assert text[one.start : one.end] == found


def test_words_that_overlap_are_found_whole() -> None:
    find = Words(("blue", "project blue", "blue moon", "pro*", "c++", "as as as"))
    text = "a project blue moon, c++ as c, a$ a$ 4s"
    assert [text[one.start : one.end] for one in merged(find(text))] == [
        "project blue moon",
        "c++",
        "a$ a$ 4s",
    ]
    assert not Words(("c++",))("c and d+")


def test_rows_of_signs_take_time_in_proportion() -> None:
    find = Words(("a s a s a s b", "as as as as as x"))

    def seconds(length: int) -> float:
        began = time.process_time()
        find("a s " + "$@" * length)
        find("as " * length)
        return time.process_time() - began

    seconds(100)
    short, long = max(seconds(500), 1e-4), seconds(5_000)
    assert long < 60 * short + 0.1


@pytest.mark.parametrize(
    "text", ["damnation", "goddamn", "projects blue", "a bleak day", "", "blue project", "d a m n"]
)
def test_is_no_such_word(text: str) -> None:
    assert not FIND(text)
