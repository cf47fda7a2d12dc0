"""One job, asked for until it ends, while a person waits."""

import asyncio
from collections.abc import Callable

from worker.core.backoff import delay
from worker.core.endings import Call, Retry, Step
from worker.core.polling import PollSchedule
from worker.core.verdicts import judge
from worker.errors import ApiError, WorkerError
from worker.model import Completed, Job, JobState
from worker.ports import Clock, EmbeddingApi

FIRST_WORD, NEXT_WORD = 10.0, 30.0
"""Seconds of silence until the person is told what is waited for, and then between two lines."""


class Following:
    """Polls `job` until `deadline` seconds after its submission. `tell` hears a line now and then where that takes long;
    `unit` is random in [0, 1)."""

    def __init__(
        self,
        api: EmbeddingApi,
        job: Job,
        deadline: float,
        *,
        clock: Clock,
        tell: Callable[[str], None],
        unit: Callable[[], float],
    ) -> None:
        self._api = api
        self._job = job
        self._deadline = deadline
        self._clock = clock
        self._tell = tell
        self._unit = unit
        self._is_done = False
        self._failures = 0
        self._trouble = ""

    async def completed(self) -> Completed:
        """The result. Raises ApiError where the API says that there will be none or that polls are in vain, and WorkerError at
        the deadline."""
        words = asyncio.create_task(self._speak())
        try:
            return await self._poll()
        finally:
            words.cancel()
            await asyncio.gather(words, return_exceptions=True)

    async def _poll(self) -> Completed:
        schedule, polls = PollSchedule(), 0
        await self._clock.sleep(schedule.first())
        while self._age() < self._deadline:
            try:
                answer = await self._ask()
            except ApiError as error:
                wait = self._wait_after(error)
            else:
                if answer is not None:
                    return answer
                polls += 1
                wait = schedule.next(self._age(), polls)
            await self._clock.sleep(max(0.0, min(wait, self._deadline - self._age())))
        raise WorkerError(f"{self._state()} (api.deadline); its result lives for an hour")

    async def _ask(self) -> Completed | None:
        """The result, None where there is none yet. Of a job that was once said to be done only the result is asked for."""
        if not self._is_done:
            self._is_done = await self._api.status(self._job.request_id) is JobState.COMPLETED
            self._succeeded()
        if not self._is_done:
            return None
        answer = await self._api.result(self._job.request_id)
        self._succeeded()
        return answer if isinstance(answer, Completed) else None

    def _succeeded(self) -> None:
        self._failures, self._trouble = 0, ""

    def _wait_after(self, error: ApiError) -> float:
        """Seconds until the next try. Raises the error where there is to be none."""
        verdict = judge(Call.STATUS, error, age=self._age(), request_id=self._job.request_id)
        if not (isinstance(verdict, Retry) and verdict.step is Step.SAME_CALL):
            raise error
        self._failures += 1
        self._trouble = verdict.detail
        opens_in = 0.0 if verdict.reset_at is None else verdict.reset_at - self._clock.epoch()
        return max(opens_in, delay(self._failures, self._unit()))

    async def _speak(self) -> None:
        await self._clock.sleep(FIRST_WORD)
        while True:
            self._tell(f"{self._state()}; asking again until {self._deadline:.0f} s (api.deadline)")
            await self._clock.sleep(NEXT_WORD)

    def _state(self) -> str:
        lacks = "is done, its result is not fetched" if self._is_done else "is not done"
        trouble = f": {self._trouble}" if self._trouble else ""
        return f"job {self._job.request_id} {lacks} after {self._age():.0f} s{trouble}"

    def _age(self) -> float:
        return self._clock.epoch() - self._job.submitted_at
