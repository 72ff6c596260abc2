"""The line of agents.toml by which a plug-in is active, and all else as it was."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.plugins.activation import set_active
from celery_agents.errors import ConfigurationError
from tests.support.drawn import costly

OTHER = "# agents\n[agents.a]\nkind = 'scripted' # active = true\n"


@pytest.mark.parametrize(
    ("before", "active", "after"),
    [
        ("", True, "[plugins.acme]\nactive = true\n"),
        (OTHER, True, OTHER + "\n[plugins.acme]\nactive = true\n"),
        ("a = 1", False, "a = 1\n\n[plugins.acme]\nactive = false\n"),
        (
            "[plugins.acme]\nactive = true # ours\n",
            False,
            "[plugins.acme]\nactive = false # ours\n",
        ),
        (
            "[plugins.acme]\n[x]\nactive = 1\n",
            False,
            "[plugins.acme]\nactive = false\n[x]\nactive = 1\n",
        ),
        ("[plugins.acme]", False, "[plugins.acme]\nactive = false\n"),
        ('[ plugins."acme" ]\nactive=false\n', True, '[ plugins."acme" ]\nactive=true\n'),
        ("[plugins.acme]\nactive = true\n", True, "[plugins.acme]\nactive = true\n"),
    ],
)
def test_the_line_is_written(tmp_path: Path, before: str, after: str, *, active: bool) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(before)
    path.chmod(0o640)
    set_active(path, "acme", active=active)
    assert path.read_text() == after
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["agents.toml"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("")
    (tmp_path / "agents.toml").symlink_to("real.toml")
    set_active(tmp_path / "agents.toml", "a.b", active=True)
    assert (tmp_path / "agents.toml").is_symlink()
    assert tomllib.loads((tmp_path / "real.toml").read_text()) == {
        "plugins": {"a.b": {"active": True}}
    }


@pytest.mark.parametrize(
    "text", ["plugins = { acme = { active = true } }\n", "[", 'x = """\n[plugins.acme]\n"""\n']
)
def test_what_a_program_cannot_change_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"Write it there yourself: \[plugins.acme\]"):
        set_active(path, "acme", active=False)
    assert path.read_text() == text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written: No such file"):
        set_active(tmp_path / "agents.toml", "acme", active=False)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)


@settings(max_examples=costly(100, part=3))
@given(st.lists(st.tuples(NAMES, st.booleans()), max_size=6), st.sampled_from(["", OTHER, "# end"]))
def test_any_names_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, bool]], before: str
) -> None:
    path = tmp_path_factory.mktemp("toml") / "agents.toml"
    path.write_text(before)
    for name, active in acts:
        set_active(path, name, active=active)
    read = tomllib.loads(path.read_text())
    assert read.get("plugins", {}) == {name: {"active": active} for name, active in acts}
    assert {k: v for k, v in read.items() if k != "plugins"} == tomllib.loads(before)
