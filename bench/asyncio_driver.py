"""Drivers of clients that are asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from bench import driver


class AsyncioDriver(driver.Driver):
    """One loop for the whole round; each call of a workload runs it until its answer is there."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run the coroutine and return its result."""
        return self._runner.run(coroutine)

    async def aclose(self) -> None:
        """Free what was made on the loop."""

    def close(self) -> None:
        """Free what was made on the loop, then end the loop."""
        self._runner.run(self.aclose())
        self._runner.close()
