"""The free credits call: it costs nothing, and tells whether the API is up, whether it takes the key, and what is left."""

import asyncio
from math import inf

from worker.core.account import Account
from worker.core.halting import Asks, Cause, HealedBy
from worker.core.outage import is_failure
from worker.core.verdicts import RENEW_KEY, shortened
from worker.errors import ApiError, Refused, Unanswered
from worker.ports import Clock, EmbeddingApi

FRESH = 5.0
"""Seconds for which an answer holds: however many calls fail together, one question is asked for all of them."""

PAUSES, LOOKING = (0.2, 0.5), 2.0
"""Seconds before the second and third look at the start, and after which no other one begins."""

NO_ANSWERS = frozenset({401, 403, 407, 429})
"""Statuses below 500 that do not show that calls would be answered."""


class Inquiry:
    """Asks, and keeps what it heard of the balance. `counts_outages`: an API that is down is no problem at the start."""

    def __init__(self, api: EmbeddingApi, clock: Clock, *, counts_outages: bool) -> None:
        self._api = api
        self._clock = clock
        self._counts_outages = counts_outages
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

    async def problem(self) -> Cause | None:
        """Why to halt before anything is tried; None: the key is taken, or the calls that matter will tell. One call that fails
        proves nothing."""
        ends = self._clock.monotonic() + LOOKING
        cause = await self._problem()
        for pause in PAUSES:
            if cause is None or cause.key != "unreachable" or self._clock.monotonic() > ends:
                break
            await self._clock.sleep(pause)
            cause = await self._problem()
        return cause

    async def _problem(self) -> Cause | None:
        try:
            self.account.told(await self._api.credits())
        except ApiError as error:
            said = shortened(str(error))
            if isinstance(error, Refused) and error.status in {401, 403}:  # this call needs no rights but the key
                sentence = f"api_key: the API refuses the key ({said}): {RENEW_KEY}"
                return Cause("api_key", sentence, polls_too=True, healed_by=HealedBy.CALL, asks=Asks.ANSWER)
            if is_failure(error) and not self._counts_outages:
                sentence = (
                    f"unreachable: the API does not answer ({said}): check api.base_url; intake resumes by itself"
                )
                return Cause("unreachable", sentence, polls_too=True, healed_by=HealedBy.CALL, asks=Asks.ANSWER)
        return None
