"""Turns in an event loop: so many pieces of work a pass, first come first served.

Requests that arrive together would else all be worked on in one pass, and an answer that is ready would wait for the last of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Gives turns to the coroutines of one event loop.

    Args:
        each_pass: how many in one pass of the loop, at least 1.
        then: called when all who came have had theirs.
    """

    def __init__(self, each_pass: int, then: Callable[[], None] = lambda: None) -> None:
        self._each_pass = self._left = each_pass
        self._then = then
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_called = False  # the next pass calls `_pass`

    async def take(self) -> None:
        """Wait for a turn. Work that follows without another await is done in it."""
        loop = asyncio.get_running_loop()
        if not self._is_called:
            self._is_called = True
            loop.call_soon(self._pass, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        own: asyncio.Future[None] = loop.create_future()
        self._waiting.append(own)
        await own

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = self._each_pass
        while self._left and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # whoever was cancelled takes no turn
                self._left -= 1
                waiter.set_result(None)
        self._is_called = self._left < self._each_pass
        if self._is_called:
            loop.call_soon(self._pass, loop)
        else:
            self._then()
