"""An attempt at a step, from its claim to its end. It knows no Celery."""
