"""A process as the brokers see it: whether it takes steps, and whether what it sends arrives."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

PATIENCE: Final = 1.0
"""Seconds after which a request over a broken network fails."""


class Unreachable(Exception):
    """The network is broken: the request did not arrive, or its answer did not."""


class Connection:
    """Shared by the ports of one process.

    `cut`: the process is dead; none of its calls ever returns, and nothing it does after that reaches the broker. `freeze` and
    `thaw`: SIGSTOP and SIGCONT; its calls return when it is thawed. `unplug` and `plug`: its network; calls fail. In all three
    cases what it had sent before arrives and takes effect.
    """

    def __init__(self) -> None:
        self.alive = True
        self.when_back: list[Callable[[], None]] = []
        self.when_cut: list[Callable[[], None]] = []
        self._frozen = False
        self._plugged = True
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def running(self) -> bool:
        """The process takes steps."""
        return self.alive and not self._frozen

    @property
    def reaches(self) -> bool:
        """The process takes steps, and the brokers hear of them."""
        return self.running and self._plugged

    def cut(self) -> None:
        """As `kill -9`."""
        self.alive = False
        for callback in self.when_cut:
            callback()

    def freeze(self) -> None:
        """As SIGSTOP."""
        self._frozen = True

    def thaw(self) -> None:
        """As SIGCONT."""
        self._frozen = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if self.alive and not waiter.done():
                waiter.set_result(None)
        self._back()

    def unplug(self) -> None:
        """No request and no answer comes through."""
        self._plugged = False

    def plug(self) -> None:
        """The network works again."""
        self._plugged = True
        self._back()

    async def gate(self) -> None:
        """Wait while the process is frozen; for ever once it is dead. A simulation puts this in front of everything else that
        the process does (its clock, its HTTP calls)."""
        while not self.running:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    async def request(self, effect: Callable[[], Result], there: float = 0.0, back: float = 0.0) -> Result:
        """Send a request, whose `effect` happens at the broker after `there` seconds, whatever has become of the process or of
        the calling task; returns what it returns, or raises what it raises, `back` seconds later. Raises Unreachable."""
        await self.gate()
        if not self._plugged:
            await self._fail()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()

        def arrive() -> None:
            outcome = _outcome(effect)
            if not arrived.done():
                arrived.set_result(outcome)

        if there > 0:
            loop.call_later(there, arrive)
        else:
            loop.call_soon(arrive)
        result, error = await arrived
        if back > 0:
            await asyncio.sleep(back)
        await self.gate()
        if not self._plugged:
            await self._fail()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # what `effect` returned

    async def _fail(self) -> None:
        await asyncio.sleep(PATIENCE)
        await self.gate()
        raise Unreachable("the brokers do not answer")

    def _back(self) -> None:
        if self.reaches:
            for callback in self.when_back:
                callback()


def _outcome(effect: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return effect(), None
    except Exception as error:  # noqa: BLE001  # it belongs to whoever sent the request, if anybody still waits for it
        return None, error
