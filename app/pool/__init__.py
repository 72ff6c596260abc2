"""The worker pool: an event loop, fibers for steps, threads for all other tasks."""

from app.pool.pool import CoroutinePool

__all__ = ["CoroutinePool"]
