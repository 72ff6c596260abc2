"""Skills: what a model is told of them, what it reads, and what nobody reads."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents.catalog.toolsets import read_toolsets
from agents.net.clients import SharedClients
from agents.tools.calls import ToolError
from agents.tools.offered import Offered
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset, Toolset
from agents.toolsets.kinds import ToolResources
from agents.toolsets.pins import write_pins
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep


def skill(folder: Path, name: str, *, head: str | None = None, body: str = "Do it well.") -> Path:
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    told = f"name: {name}\ndescription: How {name} is done." if head is None else head
    (made / "SKILL.md").write_text(f"---\n{told}\n---\n{body}\n")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = skill(tmp_path / "skills", "reports")
    (made / "references").mkdir()
    (made / "references" / "style.md").write_text("Short words.")
    (made / "logo.bin").write_bytes(b"\xff\xfe\x00")
    skill(tmp_path / "skills", "invoices")
    return tmp_path / "skills"


def toolset(*folders: Path, **fields: Any) -> Toolset:
    resources = ToolResources(lambda _: None, ThreadPoolExecutor(1), SharedClients())
    table = {"kind": "skills", "folders": [str(f) for f in folders], **fields}
    return read_toolsets(Path("agents.toml"), {"guides": table}, resources)["guides"]


def offered(made: Toolset) -> Offered:
    step: Any = MemoryStep()
    box = Toolbox(FunctionToolset("f"), [made], list_timeout_s=1)
    return asyncio.run(box.offered(step))


def read(made: Toolset, **arguments: str) -> Any:
    step: Any = MemoryStep()
    return asyncio.run(made.call("read_skill", {**arguments}, key="k", step=step))


def test_a_model_is_told_of_skills_and_reads_them(folder: Path) -> None:
    made = toolset(folder)
    (told,) = offered(made).specs
    assert told.name == "read_skill"
    assert "- invoices: How invoices is done.\n- reports: How reports is done." in told.description
    found = read(made, name="reports")
    assert found["text"].endswith("Do it well.\n")
    assert found["files"] == ["logo.bin", "references/style.md"]
    assert read(made, name="reports", path="references/style.md") == {"text": "Short words."}


def test_a_folder_may_be_a_skill_itself(folder: Path) -> None:
    assert "Do it well" in read(toolset(folder / "invoices"), name="invoices")["text"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "others"}, "no skill 'others', but invoices, reports"),
        ({"name": "../skills/reports"}, "no skill"),
        ({"name": "reports", "path": "../invoices/SKILL.md"}, "has no file"),
        ({"name": "reports", "path": "/etc/passwd"}, "has no file"),
        ({"name": "reports", "path": "references/../SKILL.md"}, "has no file"),
        ({"name": "reports", "path": "references"}, "has no file"),
        ({"name": "reports", "path": "a\0b"}, "has no file"),
        ({"name": "reports", "path": "logo.bin"}, "no text"),
        ({"name": "reports", "path": "x" * 2_000}, "at most 1000"),
    ],
)
def test_what_is_no_file_of_a_skill_is_not_read(
    folder: Path, arguments: dict[str, str], told: str
) -> None:
    with pytest.raises(ToolError, match=told):
        read(toolset(folder), **arguments)


def test_links_lead_nowhere_whether_they_were_there_or_came_later(
    folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    reports = folder / "reports"
    (reports / "link.md").symlink_to(secret)
    (reports / "folder").symlink_to(tmp_path)
    (folder / "linked").symlink_to(reports)
    made = toolset(folder)
    assert "linked" not in offered(made).specs[0].description
    for path in ("link.md", "folder/secret.txt"):
        with pytest.raises(ToolError, match="has no file"):
            read(made, name="reports", path=path)
    style = reports / "references" / "style.md"
    style.unlink()
    style.symlink_to(secret)
    with pytest.raises(ToolError, match="Links are not followed"):
        read(made, name="reports", path="references/style.md")
    style.unlink()
    os.link(secret, style)
    with pytest.raises(ToolError, match="another name"):
        read(made, name="reports", path="references/style.md")


def test_what_has_changed_since_the_start_is_not_shown(folder: Path) -> None:
    made = toolset(folder)
    skill(folder, "reports", body="Send it to me.")
    with pytest.raises(ToolError, match="changed since"):
        read(made, name="reports")


def test_skills_are_pinned_with_all_of_their_files(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pins = tmp_path / "pins.json"
    step: Any = MemoryStep()
    write_pins(asyncio.run(toolset(folder).specs(step)), pins)
    assert len(offered(toolset(folder, pin=str(pins))).specs) == 1
    (folder / "reports" / "references" / "style.md").write_text("Long words.")
    assert offered(toolset(folder, pin=str(pins))).specs == ()
    assert "read_skill" in caplog.text


def test_what_was_read_is_read_again_by_another_attempt(folder: Path) -> None:
    (told,) = offered(toolset(folder)).tools.values()
    assert told.policy.effects == "idempotent"


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("name: other\ndescription: x", "says that its name is 'other'"),
        ("description: x", "says that its name is no text"),
        ("name: [[1]]\ndescription: x", "says that its name is no text"),
        ("name: &a bad\ndescription: *a", "aliases"),
        ("name: bad\ndescription: x\n2026-99-99: 2026-99-99\n? [a, b]\n: c", "malformed YAML"),
        ("name: bad", "no description"),
        ("name: bad\ndescription: ''", "no description"),
        (f"name: bad\ndescription: {'x' * 1_025}", "no description"),
        ("name: bad\ndescription: [1]", "no description"),
        ("just a text", "fields like name"),
        ("name: [", "malformed YAML"),
        ("a: &a [1]\n" * 2_000, "between two lines"),
        ("name: bad\ndescription: x\n\ud800", None),
    ],
)
def test_a_malformed_skill_stops_the_start(tmp_path: Path, head: str, told: str | None) -> None:
    if told is None:
        made = skill(tmp_path, "bad")
        (made / "SKILL.md").write_bytes(b"---\nname: bad\ndescription: \xff\n---\n")
    else:
        skill(tmp_path, "bad", head=head)
    with pytest.raises(ConfigurationError, match=rf"\[tools.guides\] folders: .*{told or ''}"):
        toolset(tmp_path)


def test_folders_have_an_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder"):
        toolset(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="none of them has a skill"):
        toolset(tmp_path)
    made = skill(tmp_path / "big", "big")
    for n in range(201):
        (made / f"{n}.md").write_text("x")
    deep = skill(tmp_path / "deep", "deep")
    for _ in range(400):
        deep /= "d"
        deep.mkdir()
    with pytest.raises(ConfigurationError, match="more than 10 folders"):
        toolset(tmp_path / "deep")
    with pytest.raises(ConfigurationError, match="more than 200 files"):
        toolset(tmp_path / "big")
    for n in range(51):
        skill(tmp_path / "many", f"s{n}")
    with pytest.raises(ConfigurationError, match="above 50"):
        toolset(tmp_path / "many")
    skill(tmp_path / "a", "same")
    skill(tmp_path / "b", "same")
    with pytest.raises(ConfigurationError, match="two skills"):
        toolset(tmp_path / "a", tmp_path / "b")


def test_all_of_a_head_is_text(tmp_path: Path) -> None:
    """YAML would make a number of this name, and a truth value of this description."""
    skill(tmp_path, "2026", head="name: 2026\ndescription: yes\nwhen: 2026-99-99")
    assert "- 2026: yes" in offered(toolset(tmp_path)).specs[0].description


@pytest.mark.parametrize("error", [TypeError("odd"), KeyError("odd"), OverflowError("odd")])
def test_whatever_the_parser_raises_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def parse(*_: Any) -> Any:
        raise error

    monkeypatch.setattr("yaml.load", parse)
    with pytest.raises(ConfigurationError, match=r"malformed YAML: .*odd"):
        toolset(folder)


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "SKILL.md").symlink_to("SKILL.md")
    for place in (tmp_path, tmp_path / "x"):
        with pytest.raises(ConfigurationError, match=r"\[tools.guides\] folders: .*cannot be read"):
            toolset(place)
