"""Tasks with an owner: they end with the block that started them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self


class Tasks:
    """A task group whose tasks run until its block ends."""

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._made: list[asyncio.Task[None]] = []
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._made:
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until the end of the block."""
        self._made.append(self._group.create_task(work))
