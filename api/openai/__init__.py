"""``/v1``: OpenAI's API, as their SDKs and all that speaks it ask: a model is an agent or panel."""
