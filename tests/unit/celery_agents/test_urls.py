from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.errors import ConfigurationError
from celery_agents.urls import split, split_hosts

SECRET = "hush" + "-hush"


def test_parts() -> None:
    parts = split(f"Some+thing://u%40x:{SECRET}@h:1,i/a/b%20c?x=1&y=a%26b&z=\n", "WHERE")
    assert (parts.scheme, parts.username, parts.password) == ("some+thing", "u@x", SECRET)
    assert (parts.hosts, parts.path) == ("h:1,i", "/a/b%20c")
    assert parts.query == {"x": "1", "y": "a&b", "z": ""}
    assert SECRET not in repr(parts)


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("x://h", (None, None)),
        ("x://@h", (None, None)),
        ("x://u@h", ("u", None)),
        ("x://:@h", (None, "")),
        ("x://:p@h", (None, "p")),
        ("x://u:@h", ("u", "")),
        ("x://a:b:c@d@h", ("a", "b:c@d")),
    ],
)
def test_who(text: str, login: tuple[str | None, str | None]) -> None:
    parts = split(text, "WHERE")
    assert ((parts.username, parts.password), parts.hosts) == (login, "h")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", [("", None)]),
        (":5", [("", 5)]),
        ("h", [("h", None)]),
        ("h:", [("h", None)]),
        ("h:5", [("h", 5)]),
        ("a,b:1", [("a", None), ("b", 1)]),
        ("[::1]", [("::1", None)]),
        ("[fe80::1]:5", [("fe80::1", 5)]),
        ("%2Frun%2Fpg", [("/run/pg", None)]),
    ],
)
def test_hosts(text: str, hosts: list[tuple[str, int | None]]) -> None:
    assert list(split_hosts(text, "WHERE")) == hosts


@pytest.mark.parametrize("text", ["h:x", "h:1:2", "::1", "[::1", "[x]", "h:99999", "h:٣", "[::1]5"])
def test_hosts_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="WHERE"):
        split_hosts(text, "WHERE")


@given(st.text(), st.text())
def test_the_errors_quote_nothing(before: str, after: str) -> None:
    for text in (f"{before}{SECRET}{after}", f"redis://:{before}{SECRET}{after}@h:1/0"):
        try:
            split_hosts(split(text, "WHERE").hosts, "WHERE")
        except ConfigurationError as error:
            assert SECRET not in str(error)  # noqa: PT017 - or it is read
            assert "WHERE" in str(error)  # noqa: PT017
