"""Questions that vectors take for the same, and whose words say that they are not."""

from __future__ import annotations

import pytest

from agents.caching.likeness import alike

#: Twenty pairs of which the answer to one is wrong for the other.
POLARITY = [
    ("How do I enable two-factor login?", "How do I disable two-factor login?"),
    ("Ship the parcel.", "Do not ship the parcel."),
    ("Is the shop open on Sunday?", "Is the shop closed on Sunday?"),
    ("Why did sales increase in May?", "Why did sales decrease in May?"),
    ("Turn on the heating at night", "Turn off the heating at night"),
    ("Can I cancel my order?", "Can't I cancel my order?"),
    ("Convert .NET code to Java", "Convert Java code to .NET"),
    ("Translate this from German to French", "Translate this from French to German"),
    ("What is 12 + 30?", "What is 12 + 31?"),
    ("Cancel order 4711", "Cancel order 4712"),
    ('What does "idempotent" mean?', 'What does "immutable" mean?'),
    ("Is it safe to mix bleach with water?", "Is it unsafe to mix bleach with water?"),
    ("Does the dog chase the cat?", "Does the cat chase the dog?"),
    ("Which flights leave before noon?", "Which flights leave after noon?"),
    ("Who bought shares from Anna?", "Who never bought shares from Anna?"),
    ("How do I add a user?", "How do I remove a user?"),
    ("What is the highest price?", "What is the lowest price?"),
    ("Tea with sugar, please", "Tea without sugar, please"),
    ("Is the file encrypted?", "Is the file decrypted?"),
    ("List all legal moves", "List all illegal moves"),
]
PARAPHRASES = [
    ("How do I reset my password?", "how do I reset my password"),
    ("How can I reset my password?", "How do I reset the password, please?"),
    ("Where is my parcel?", "Where's my parcel"),
    ("When does order 17 arrive?", "When will order 17 arrive?"),
    ("Don't you ship to Norway?", "Do you not ship to Norway?"),
    ("What are the opening hours?", "What are your opening hours?"),
]


def test_there_are_twenty() -> None:
    assert len(POLARITY) == 20


@pytest.mark.parametrize(("one", "other"), POLARITY)
def test_opposites_are_not_alike(one: str, other: str) -> None:
    assert not alike(one, other)
    assert not alike(other, one)
    assert alike(one, one)


@pytest.mark.parametrize(("one", "other"), PARAPHRASES)
def test_the_same_in_other_words_is_alike(one: str, other: str) -> None:
    assert alike(one, other)
    assert alike(other, one)
