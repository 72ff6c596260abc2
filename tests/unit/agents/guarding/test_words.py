from __future__ import annotations

import pytest

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
    ],
)
def test_is_found_however_it_is_written(text: str, found: str) -> None:
    (one,) = FIND(text)
    assert text[one.start : one.end] == found


@pytest.mark.parametrize(
    "text", ["damnation", "goddamn", "projects blue", "a bleak day", "", "blue project", "d a m n"]
)
def test_is_no_such_word(text: str) -> None:
    assert not FIND(text)
