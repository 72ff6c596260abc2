"""An agent that lets out what it is asked in every way, beside its answer."""

from __future__ import annotations

from celery_agents import StepContext, agent, tool


@agent
async def leaking(text: str, step: StepContext) -> str:
    """The input, told on all ways; with ``fails`` in it an error says it, too."""
    step.say(text)
    await step.progress(note=text, share=0.5)
    step.emit("leaks", "leaked", {"of": [text]})
    if "fails" in text:
        raise ValueError(text)
    return text


@tool(effects="pure")
async def look_up(text: str) -> str:
    """Looks somebody up."""
    return f"{text} is known"
