"""``read_skill``: a model is told which skills there are, and reads those that it needs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agents.tools.base import Tool, tool
from agents.tools.calls import ToolError
from agents.tools.toolset import FixedToolset
from agents.toolsets.skills.folders import MAIN, Skill, digest_of

_ABOUT = """\
Reads a skill: instructions for a kind of task, which you follow once you have read them. Read one \
before you begin what it is for. path: another file of it, which its instructions name.
Skills:
{skills}
Digest of all: {digest}"""

Name = Annotated[str, Field(max_length=64)]
FilePath = Annotated[str, Field(max_length=1_000)]


class SkillToolset(FixedToolset):
    """The skills of an agent."""

    always_shown = True


def skill_tool(skills: dict[str, Skill]) -> Tool:
    """The tool of these skills; its description says which there are, and the digest of all."""

    # What it read is journaled: another attempt goes on with the same text.
    @tool(effects="idempotent", tries=1, max_result_bytes=65_536)
    def read_skill(name: Name, path: FilePath = MAIN) -> dict[str, Any]:
        if (skill := skills.get(name)) is None:
            raise ToolError(f"There is no skill {name!r}, but {', '.join(skills)}.")
        text = skill.read(path)
        others = [other for other in skill.files if other != path]
        return {"text": text, "files": others} if path == MAIN else {"text": text}

    told = "\n".join(f"- {skill.name}: {skill.description}" for skill in skills.values())
    read_skill.description = _ABOUT.format(skills=told, digest=digest_of(skills))
    return read_skill
