from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.vote.options import match, normalise
from celery_agents.contracts.vote import Normalisation

ALL = Normalisation()
NONE = Normalisation(casefold=False, strip=False, numbers=False)


@pytest.mark.parametrize(
    ("value", "form", "plain"),
    [
        ("Yes", "yes", "Yes"),
        ("  Two  words. ", "two words", "  Two  words. "),
        ("“Paris”", "paris", "“Paris”"),
        ("**B**", "b", "**B**"),
        ("Straße", "strasse", "Straße"),
        ("Cafe\u0301", "caf\u00e9", "Caf\u00e9"),
        ("42", "42", "42"),
        ("42.0", "42", "42.0"),
        ("+4.2e1", "42", "+4.2e1"),
        (42, "42", "42"),
        (42.0, "42", "42.0"),
        ("-0.0", "0", "-0.0"),
        (".50", "0.5", ".50"),
        ("007", "7", "007"),
        ("1,000", "1,000", "1,000"),
        (
            "123456789012345678901234567890123456789",
            "123456789012345678901234567890123456789",
            None,
        ),
        ("1e300", "1e+300", "1e300"),
        (True, "true", "true"),
        (None, None, None),
        ([], None, None),
        ("", None, None),
        (" .", None, " ."),
    ],
)
def test_normalise(value: Any, form: str | None, plain: str | None) -> None:
    assert normalise(value, ALL) == form
    if plain is not None:
        assert normalise(value, NONE) == plain


@given(st.text(max_size=30))
def test_normalising_twice_changes_no_name_of_an_option(text: str) -> None:
    once = normalise(text, Normalisation(strip=False))
    if once is not None:
        assert normalise(once, Normalisation(strip=False)) == once


@pytest.mark.parametrize(
    ("value", "choices", "option"),
    [
        ("a", ("A", "B"), "A"),
        ("a", ("A", "a"), "a"),
        ("A ", ("A", "a"), None),  # could be either
        ("5.0", ("5", "6"), "5"),
        ("c", ("A", "B"), None),
        ("c", None, "c"),
    ],
)
def test_match(value: str, choices: tuple[str, ...] | None, option: str | None) -> None:
    assert match(value, choices, ALL) == option
