"""The team of pydantic-ai for workers of ours."""

from of_pydantic_ai import team

from celery_agents import StepDurability

_PRICE = {"input_usd": 1.0, "output_usd": 2.0}

lead = team(lambda: StepDurability(price=_PRICE), lambda tool: tool, {})
