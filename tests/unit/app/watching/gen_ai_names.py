"""The names that the conventions for generative AI have, as far as spans may use them.

Source: the attribute registry of https://github.com/open-telemetry/semantic-conventions-genai, by
way of the package opentelemetry-semantic-conventions 0.66b2.
"""

from __future__ import annotations

NAMES = frozenset(
    f"gen_ai.{name}"
    for name in (
        *("operation.name", "provider.name", "conversation.id", "output.type", "workflow.name"),
        *("agent.id", "agent.name", "agent.description", "agent.version"),
        *("request.model", "request.max_tokens", "request.temperature", "request.seed"),
        *("response.id", "response.model", "response.finish_reasons"),
        *("usage.input_tokens", "usage.output_tokens"),
        *("usage.cache_read.input_tokens", "usage.cache_creation.input_tokens"),
        *("tool.name", "tool.type", "tool.description", "tool.call.id"),
        *("tool.call.arguments", "tool.call.result", "tool.definitions"),
        *("input.messages", "output.messages", "system_instructions"),
    )
)
#: Values of ``gen_ai.operation.name``.
OPERATIONS = frozenset(
    {
        *("chat", "create_agent", "embeddings", "execute_tool", "generate_content"),
        *("invoke_agent", "invoke_workflow", "retrieval", "text_completion"),
    }
)
#: Values of ``gen_ai.provider.name``.
PROVIDERS = frozenset(
    {
        *("openai", "anthropic", "cohere", "deepseek", "groq", "mistral_ai", "perplexity", "x_ai"),
        *("aws.bedrock", "azure.ai.inference", "azure.ai.openai", "ibm.watsonx.ai"),
        *("gcp.gen_ai", "gcp.gemini", "gcp.vertex_ai"),
    }
)
