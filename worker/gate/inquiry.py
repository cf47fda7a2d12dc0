"""The free credits call: it costs nothing, and tells whether the API is up, whether it takes the key, and what is left."""

import asyncio
from math import inf

from worker.core.account import Account
from worker.core.halting import Asks
from worker.errors import ApiError, Refused, Unanswered
from worker.ports import Clock, EmbeddingApi

FRESH = 5.0
"""Seconds for which an answer holds: however many calls fail together, one question is asked for all of them."""

NO_ANSWERS = frozenset({401, 403, 407, 429})
"""Statuses below 500 that do not show that calls would be answered."""


class Inquiry:
    """Asks, and keeps what it heard of the balance."""

    def __init__(self, api: EmbeddingApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._one_asks = asyncio.Lock()
        self._asked_at = -inf
        self._is_up = True
        self.account = Account()

    async def is_up(self) -> bool:
        """Whether the API answers at all, as of a moment ago."""
        async with self._one_asks:
            if self._clock.monotonic() - self._asked_at >= FRESH:
                try:
                    self.account.told(await self._api.credits())
                    self._is_up = True
                except Refused as error:
                    self._is_up = error.status < 500
                except ApiError as error:
                    self._is_up = not isinstance(error, Unanswered)
                self._asked_at = self._clock.monotonic()
            return self._is_up

    async def says_yes(self, asks: Asks) -> bool:
        """Does it speak for trying an event now? Where it cannot tell, it does."""
        try:
            balance = await self._api.credits()
        except Refused as error:
            return error.status not in NO_ANSWERS and error.status < 500
        except ApiError as error:
            return not isinstance(error, Unanswered)
        self.account.told(balance)
        return asks is not Asks.BALANCE or balance.credits + balance.free_credits > 0.0
