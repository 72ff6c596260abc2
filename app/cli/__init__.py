"""The commands of ``celery -A app agents``."""
