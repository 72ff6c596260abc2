"""Prompts of the configuration, and what completes their arguments as somebody types them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from api.mcp.callers import Caller
from api.mcp.configured import FILLED_MAX, Configured, ConfiguredPrompt
from api.mcp.pages import page_of
from celery_agents.values import mended
from celery_agents.visible import visible

#: Values of a completion, by the specification.
VALUES_MAX = 100


def prompts_of(configured: Configured, after: str | None) -> types.ListPromptsResult:
    """A page of them, by name."""
    page, more = page_of(configured.prompts, after)
    made = [_prompt(name, configured.prompts[name]) for name in page]
    return types.ListPromptsResult(prompts=made, next_cursor=more)


def prompt_of(
    configured: Configured, name: str, given: Mapping[str, str]
) -> tuple[ConfiguredPrompt, dict[str, str]]:
    """A prompt, and the arguments that it takes.

    Raises:
        MCPError: there is none, an argument is missing, or one is none of it.
    """
    prompt = configured.prompts.get(name)
    if prompt is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {name[:80]}")
    needed = {name for name, about in prompt.arguments.items() if about.required}
    if missing := sorted(needed - given.keys()):
        raise MCPError(types.INVALID_PARAMS, f"The argument {missing[0]!r} is missing.")
    if odd := sorted(given.keys() - prompt.arguments.keys()):
        raise MCPError(types.INVALID_PARAMS, f"There is no argument {odd[0][:80]!r}.")
    if any(len(value) > FILLED_MAX for value in given.values()):
        raise MCPError(types.INVALID_PARAMS, f"An argument has above {FILLED_MAX:,} characters.")
    return prompt, {name: given.get(name, "") for name in prompt.arguments}


def messages_of(prompt: ConfiguredPrompt, told: Any) -> types.GetPromptResult:
    """A prompt as clients get it: of a text one message.

    Raises:
        MCPError: they are no messages.
    """
    if isinstance(told, str):
        told = [{"role": "user", "content": {"type": "text", "text": told}}]
    elif isinstance(told, dict):
        told = told.get("messages")
    try:
        return types.GetPromptResult.model_validate(
            {"description": prompt.description or None, "messages": mended(told)}, by_name=False
        )
    except ValidationError:
        raise MCPError(types.INTERNAL_ERROR, "The prompt has a message that is none.") from None


async def completed(caller: Caller, configured: Configured, params: Any) -> types.CompleteResult:
    """The values of an argument that begin as somebody has begun to type."""
    about, typed = params.ref, params.argument.value
    found: Iterable[str] = ()
    if isinstance(about, types.PromptReference):
        prompt = configured.prompts.get(about.name)
        argument = None if prompt is None else prompt.arguments.get(params.argument.name)
        found = () if argument is None else argument.values
    elif about.uri == "agent://{name}":
        offers = await caller.services.models.offers(caller.who)
        found = (model.name for model in offers if model.is_agent)
    fits = [value for value in found if value.casefold().startswith(typed.casefold())]
    values = fits[:VALUES_MAX]
    told = types.Completion(values=values, total=len(fits), has_more=len(fits) > len(values))
    return types.CompleteResult(completion=told)


def _prompt(name: str, prompt: ConfiguredPrompt) -> types.Prompt:
    arguments = [
        types.PromptArgument(name=n, description=about.description or None, required=about.required)
        for n, about in prompt.arguments.items()
    ]
    told = visible(prompt.description) or None
    return types.Prompt(name=name, description=told, arguments=arguments)
