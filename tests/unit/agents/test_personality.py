from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agents.models.config import ModelConfig
from agents.models.strict import strict_form
from agents.personality import STYLES, TRAITS, instructions, report, review_schema
from agents.schema import problem


@pytest.mark.parametrize(
    ("traits", "style", "told"),
    [
        ({}, None, None),
        ({"terse": 0}, None, None),
        ({"terse": 1}, None, "Be very terse: short and to the point."),
        ({"terse": 0.74}, None, "Be terse: short and to the point."),
        ({"terse": 0.1}, None, "Be somewhat terse: short and to the point."),
        (
            {"terse": 0.5, "sceptical": 0.8},  # the strongest first
            None,
            f"Be very {TRAITS['sceptical']}.\nBe {TRAITS['terse']}.",
        ),
        ({}, "plain", "Write plainly: short sentences and common words."),
    ],
)
def test_what_a_model_is_told(traits: dict[str, float], style: Any, told: str | None) -> None:
    assert instructions(traits, style) == told


@pytest.mark.parametrize("name", list(TRAITS))
def test_each_trait_begins_with_its_word(name: str) -> None:
    assert TRAITS[name].startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"traits": {"terze": 1}}, "did you mean 'terse'"),
        ({"traits": {"terse": 2}}, "less than or equal to 1"),
        ({"style": "formel"}, "did you mean 'formal'"),
        ({"criteria": ["security", "security"]}, "twice"),
    ],
)
def test_words_of_no_table_are_refused(fields: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ModelConfig.model_validate({"provider": "openai", "model": "m", **fields})


def test_a_config_takes_all_words() -> None:
    for style in STYLES:
        config = {"provider": "openai", "model": "m", "style": style}
        ModelConfig.model_validate({**config, "traits": dict.fromkeys(TRAITS, 1.0)})


def test_a_review_has_findings_and_a_score_for_each_criterion() -> None:
    schema = review_schema(["security", "naming"])
    assert strict_form(schema) == schema
    one: Any = {"findings": [], "score": 1}
    assert problem({"security": one, "naming": one}, schema) is None
    odds: list[Any] = [{"security": one}, {"security": one, "naming": {"score": 1}},
                {"security": one, "naming": {"findings": [], "score": 2}}]  # fmt: skip
    for odd in odds:
        assert problem(odd, schema) is not None


def test_a_report_says_what_a_review_comes_to() -> None:
    review = {
        "security": {"findings": ["eval of input, line 3"], "score": 0.2},
        "naming": {"findings": [], "score": 1},
    }
    assert report(review, ["security", "naming"]) == {
        "score": 0.6,
        "weakest": "security",
        "findings": [{"criterion": "security", "finding": "eval of input, line 3"}],
        "criteria": review,
    }
