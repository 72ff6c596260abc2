"""Names of OpenTelemetry's conventions for generative AI, and values for them.

Source: the attribute registry of https://github.com/open-telemetry/semantic-conventions-genai, and
``error.type`` of the general one. Those that begin with ``agents.`` are ours.
"""

from __future__ import annotations

import json
from typing import Any

from celery_agents import names
from celery_agents.contracts.outcome import Usage

OPERATION = "gen_ai.operation.name"
AGENT = "gen_ai.agent.name"
WORKFLOW = "gen_ai.workflow.name"
CONVERSATION = "gen_ai.conversation.id"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TOOL = "gen_ai.tool.name"
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
ERROR = "error.type"

#: Ours: what the conventions have no name for.
RUN, STEP, TENANT = "agents.run_id", "agents.step_id", "agents.tenant"
STATE, MEMBER, ATTEMPTS = "agents.state", "agents.member", "agents.attempts"
QUEUE_S, COST_USD, ATTEMPT = "agents.queue_s", "agents.cost_usd", "agents.attempt"
#: Seconds by which something went on after what it stands in had ended; its span is cut there.
OVERRUN_S = "agents.overrun_s"

#: The conventions' own words for providers that they know by another name than ours.
_PROVIDERS = {"google": "gcp.gemini"}
_STOPS = {"end": "stop"}


def of_step(task: str, agent: str | None) -> tuple[str, dict[str, Any]]:
    """The name of a step's span, and its attributes: an agent's turn, or a pattern."""
    if task == names.ASK and agent is not None:
        return f"invoke_agent {agent}", {OPERATION: "invoke_agent", AGENT: agent}
    pattern = task.removeprefix("agents.")
    return f"invoke_workflow {pattern}", {OPERATION: "invoke_workflow", WORKFLOW: pattern}


def of_call(name: str) -> tuple[str, str, dict[str, Any]]:
    """The name of a call's span, its kind, and its attributes."""
    what, _, about = name.partition(":")
    if what == "model":
        provider, _, model = about.partition("/")
        told = {PROVIDER: _PROVIDERS.get(provider, provider), MODEL: model}
        return f"chat {model}", "CLIENT", {OPERATION: "chat", **told}
    if what == "tool":
        return f"execute_tool {about}", "INTERNAL", {OPERATION: "execute_tool", TOOL: about}
    return name, "CLIENT" if what == "http" else "INTERNAL", {}


def of_usage(usage: Usage) -> dict[str, Any]:
    """Attributes of what was used; tokens where there are some."""
    tokens = {
        INPUT_TOKENS: usage.input_tokens,
        OUTPUT_TOKENS: usage.output_tokens,
        CACHED_TOKENS: usage.cached_tokens,
    }
    told: dict[str, Any] = {name: count for name, count in tokens.items() if count}
    if usage.cost_usd:
        told[COST_USD] = usage.cost_usd
    return told


def of_stop(stop: str) -> dict[str, Any]:
    """Attributes of why a model stopped."""
    return {FINISH_REASONS: (_STOPS.get(stop, stop),)}


def of_content(name: str, role: str, text: str) -> dict[str, Any]:
    """The attribute of a message, as the conventions' JSON schemas have it."""
    message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": text}]}
    if name == OUTPUT:
        message["finish_reason"] = "stop"
    return {name: json.dumps([message], ensure_ascii=False)}
