from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from deploy.local.state import ROOT
from deploy.release import versions

CHANGES = """# Changelog

## [Unreleased]

### Added
- new

### Fixed
- mended

## [1.0.0] - {}

### Added
- first

## [0.9.0] - 2020-01-02

### Added
- older
"""
DAY = date(2030, 1, 2)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that name a version, with a changelog of our own."""
    for name in versions.PLACES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / versions.CHANGELOG).write_text(CHANGES.format("2020-02-03"))
    return tmp_path


def test_all_places_agree() -> None:
    assert versions.disagreements(ROOT) == []


@pytest.mark.parametrize("name", [n for n in versions.PLACES if n != "pyproject.toml"])
def test_a_place_that_was_forgotten_is_named(checkout: Path, name: str) -> None:
    path = checkout / name
    path.write_text(path.read_text().replace(versions.version(ROOT), "9.9.9"))
    assert versions.disagreements(checkout) == [
        f"{name} says 9.9.9, pyproject.toml {versions.version(ROOT)}"
    ]
    path.write_text("")
    assert versions.disagreements(checkout) == [f"{name} names no version"]


def test_a_version_is_written_to_all_places(checkout: Path) -> None:
    assert set(versions.set_to(checkout, "1.1.0", DAY)) == {*versions.PLACES, "CHANGELOG.md"}
    assert versions.version(checkout) == "1.1.0"
    assert versions.disagreements(checkout) == []
    assert versions.undated(checkout) == []
    text = (checkout / versions.CHANGELOG).read_text()
    assert "## [Unreleased]\n\n## [1.1.0] - 2030-01-02\n\n### Added\n- new" in text
    assert text.count("### Added") == 3


def test_only_the_version_is_written(checkout: Path) -> None:
    before = {n: (checkout / n).read_text() for n in versions.PLACES}
    old = versions.version(checkout)
    versions.set_to(checkout, "777.7.7", DAY)
    for name, text in before.items():
        assert (checkout / name).read_text().replace("777.7.7", old) == text


def test_a_section_that_was_never_published_is_closed_with_what_came_after(checkout: Path) -> None:
    (checkout / versions.CHANGELOG).write_text(CHANGES.format("unreleased"))
    versions.set_to(checkout, "1.0.0", DAY)
    text = (checkout / versions.CHANGELOG).read_text()
    section = text.partition("## [1.0.0] - 2030-01-02\n")[2].partition("## [0.9.0]")[0]
    assert section == "\n### Added\n- new\n- first\n\n### Fixed\n- mended\n\n"
    assert versions.undated(checkout) == []


@pytest.mark.parametrize(
    ("wanted", "told"), [("1.0.0", "has 1.0.0 already: 2020-02-03"), ("v2", "no version")]
)
def test_what_cannot_be_set_changes_nothing(checkout: Path, wanted: str, told: str) -> None:
    before = {p: p.read_text() for p in checkout.rglob("*") if p.is_file()}
    with pytest.raises(SystemExit, match=told):
        versions.set_to(checkout, wanted, DAY)
    assert {p: p.read_text() for p in before} == before


def test_a_version_without_its_date_is_named(checkout: Path) -> None:
    old = versions.version(checkout)
    assert versions.undated(checkout) == [f"CHANGELOG.md has no section for {old}"]
    log = checkout / versions.CHANGELOG
    log.write_text(CHANGES.format("unreleased").replace("1.0.0", old))
    assert versions.undated(checkout) == [f"CHANGELOG.md has no date for {old}: unreleased"]
    log.write_text(CHANGES.format("2020-02-03").replace("1.0.0", old))
    (told,) = versions.undated(checkout)
    assert "under Unreleased" in told
