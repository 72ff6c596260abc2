from celery_agents import agent


@agent
def topic(text: str) -> str:
    """Sorts a message."""
    return "refund" if "money" in text else "other"
