"""The team of OpenAI's SDK for workers of ours."""

from of_openai_agents import expert, lead

lead = lead(expert(lambda tool: tool).as_tool("delegate", "Have an expert look something up."))
