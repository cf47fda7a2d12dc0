"""A fake of the embedding API behind a network that delays and loses: it accepts, runs, bills, forgets, and keeps a book of every
POST, so that a second bill can be traced to its cause."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tests.simulation.scheduler import Scheduler, SimulatedProcess
from tests.simulation.trace import Trace
from tests.simulation.workload import Nature, event_of, nature_of
from worker.errors import ApiError, JobFailed, ProtocolError, Refused, Unanswered
from worker.model import Completed, Credits, EmbedRequest, JobState, Metrics

Answer = TypeVar("Answer")

RESULT_LIVES = 3600.0
"""Seconds from acceptance."""

DIMENSION = 2


@dataclass(slots=True)
class Post:
    """A POST from its start on. `accepted_at`: a job was made of it, to be finished at `done_at`, billed unless it `fails`;
    `learned_at`: the worker knows the request_id; `lost`: a fault kept its answer (or itself) from arriving; `closed`: if no job
    has been made of it until now, none will."""

    number: int
    event: int
    process: SimulatedProcess
    started_at: float
    request_id: str = ""
    accepted_at: float | None = None
    done_at: float = 0.0
    fails: str | None = None
    learned_at: float | None = None
    lost: bool = False
    closed: bool = False

    @property
    def is_of_unknown_fate(self) -> bool:
        """Its worker cannot know, or does not know yet, whether a job was made of it."""
        refused = self.closed and self.accepted_at is None
        return self.lost or (self.learned_at is None and not refused)

    def is_alive(self, now: float) -> bool:
        """Its job is billed, or may be, and can still bring what was paid for."""
        if self.accepted_at is None:
            return not self.closed
        if self.fails is not None:
            return now < self.done_at
        return now < self.accepted_at + RESULT_LIVES


@dataclass(slots=True)
class Weather:
    """How the API and the network to it are at the moment; the rates are probabilities per call. `slowness` multiplies the time
    of jobs, `latency` is the most seconds that an answer takes."""

    latency: float = 0.05
    slowness: float = 1.0
    hanging_jobs: float = 0.0
    answers_lost: float = 0.0
    requests_lost: float = 0.0
    errors: float = 0.0
    garbage: float = 0.0
    outage_until: float = 0.0
    outage_status: int | None = None
    storm_until: float = 0.0
    storm_tells_reset: bool = True
    result_of_running: int | None = None
    uuids: bool = True

    def calm(self) -> None:
        """All faults end."""
        self.latency, self.slowness, self.hanging_jobs = min(self.latency, 0.2), 1.0, 0.0
        self.answers_lost = self.requests_lost = self.errors = self.garbage = 0.0
        self.outage_until = self.storm_until = 0.0


class Api:
    """The API of the world; `client` is what one process holds of it."""

    def __init__(self, loop: Scheduler, random: Random, weather: Weather, trace: Trace) -> None:
        self.weather = weather
        self.posts: list[Post] = []
        self.calls = 0
        self.when_posted: Callable[[Post], None] = lambda post: None
        self._loop = loop
        self._random = random
        self._trace = trace
        self._jobs: dict[str, Post] = {}
        self._accepted: dict[int, int] = {}
        self.met: Counter[str] = Counter()

    def client(self, process: SimulatedProcess, epoch: Callable[[], float]) -> "ApiClient":
        """A connection. `epoch`: the wall clock of that machine (an answer's reset time is read against its own `Date`)."""
        return ApiClient(self, process, epoch)

    def started(self, process: SimulatedProcess, request: EmbedRequest) -> Post:
        """A POST leaves a worker."""
        post = Post(len(self.posts), event_of(request.text), process, self._loop.time())
        self.posts.append(post)
        self._trace.add(process.name, f"POST {post.number} of event {post.event} starts", post.event)
        self.when_posted(post)
        return post

    def accept(self, post: Post, text: str) -> str:
        """A POST arrives."""
        now, random = self._loop.time(), self._random
        nature = nature_of(text)
        earlier = self._accepted.get(post.event, 0)
        self._accepted[post.event] = earlier + 1
        if nature is Nature.BLOCKED:
            post.fails = "Content blocked: PROHIBITED_CONTENT"
        elif nature is Nature.FAILS_ALWAYS or (nature is Nature.FAILS_ONCE and not earlier):
            post.fails = "inference error: out of memory"
        post.request_id = self._name(post.number)
        post.accepted_at = now
        hangs = random.random() < self.weather.hanging_jobs
        post.done_at = now + (30.0 if hangs else 1.0) * self.weather.slowness * random.choice(
            (0.1, 0.3, 0.7, 0.7, 1.5, 3.0)
        )
        self._jobs[post.request_id] = post
        self._trace.add("api", f"accepts POST {post.number} of event {post.event} as {post.request_id[:8]}", post.event)
        return post.request_id

    def state(self, request_id: str) -> JobState:
        """A status call arrives."""
        post = self._find(request_id)
        if self._loop.time() < post.done_at:
            return JobState.PROCESSING
        if post.fails:
            raise JobFailed(post.fails, Metrics())
        return JobState.COMPLETED

    def result(self, request_id: str) -> Completed | JobState:
        """A result call arrives."""
        state = self.state(request_id)
        if state is not JobState.COMPLETED:
            refused = self.weather.result_of_running
            if refused:
                raise Refused(refused, "not ready", is_json=False)
            return state
        return Completed([0.5] * DIMENSION, Metrics())

    async def carry(
        self, name: str, process: SimulatedProcess, effect: Callable[[], Answer], post: Post | None
    ) -> Answer:
        """A call goes to the API and its answer comes back, if both do. Runs in the world: whether the caller still lives or
        listens makes no difference."""
        try:
            return await self._carried(name, process, effect, post)
        finally:
            if post is not None:
                post.closed = True

    async def _carried(
        self, name: str, process: SimulatedProcess, effect: Callable[[], Answer], post: Post | None
    ) -> Answer:
        weather, random, loop = self.weather, self._random, self._loop
        self.calls += 1
        await asyncio.sleep(random.random() * min(weather.latency, 0.4))
        now = loop.time()
        if random.random() < weather.requests_lost:
            self._fault("request lost", name, process, post)
            raise Unanswered("connection refused", sent=False)
        if now < weather.outage_until:
            self._fault("API outage met", name, process, post)
            if weather.outage_status is None:
                raise Unanswered("connection refused", sent=False)
            raise Refused(weather.outage_status, "no healthy upstream", is_json=False)
        if now < weather.storm_until and name != "credits":
            self._fault("429", name, process, post)
            raise Refused(429, "rate limited", is_json=True, reset_at=weather.storm_until)
        if random.random() < weather.errors:
            self._fault("HTTP 500", name, process, post)
            raise Refused(500, "internal error", is_json=True)
        lost = random.random() < weather.answers_lost
        if lost and random.random() < 0.3:  # sent, and never arrived: the worker cannot tell the difference
            self._fault("answer lost", name, process, post)
            raise Unanswered("read timeout", sent=True)
        answer = effect()
        await asyncio.sleep(random.random() * weather.latency)
        if lost:
            self._fault("answer lost", name, process, post)
            raise Unanswered("read timeout", sent=True)
        if random.random() < weather.garbage:
            self._fault("garbage answer", name, process, post)
            raise ProtocolError("not JSON", 200)
        return answer

    def _fault(self, kind: str, name: str, process: SimulatedProcess, post: Post | None) -> None:
        self.met[kind] += 1
        if post is not None:
            post.lost = True
            self._trace.add("api", f"{kind}: POST {post.number} of event {post.event} by {process.name}", post.event)

    def _name(self, number: int) -> str:
        if self.weather.uuids:
            return f"{number:08x}-0000-4000-8000-{self._random.getrandbits(48):012x}"
        return f"req_{number}_{self._random.getrandbits(24):x}"

    def _find(self, request_id: str) -> Post:
        post = self._jobs.get(request_id)
        if post is None or post.accepted_at is None or self._loop.time() >= post.accepted_at + RESULT_LIVES:
            raise Refused(404, f"Request {request_id} not found", is_json=True)
        return post


class ApiClient:
    """The port `EmbeddingApi` of one process."""

    def __init__(self, api: Api, process: SimulatedProcess, epoch: Callable[[], float]) -> None:
        self._api = api
        self._process = process
        self._epoch = epoch
        self._loop = api._loop

    async def submit(self, request: EmbedRequest) -> str:
        """See the port."""
        post = self._api.started(self._process, request)
        request_id = await self._exchange("submit", lambda: self._api.accept(post, request.text), post)
        post.learned_at = self._loop.time()
        return request_id

    async def status(self, request_id: str) -> JobState:
        """See the port."""
        return await self._exchange("status", lambda: self._api.state(request_id))

    async def result(self, request_id: str) -> Completed | JobState:
        """See the port."""
        return await self._exchange("result", lambda: self._api.result(request_id))

    async def credits(self) -> Credits:
        """See the port."""
        return await self._exchange("credits", lambda: Credits(10.0, 0.0))

    async def close(self) -> None:
        """See the port."""

    async def _exchange(self, name: str, effect: Callable[[], Answer], post: Post | None = None) -> Answer:
        reply: asyncio.Future[Answer] = self._loop.create_future()

        async def exchange() -> None:
            try:
                answer = await self._api.carry(name, self._process, effect, post)
            except ApiError as error:
                if not reply.done():
                    reply.set_exception(self._as_told_here(error))
            else:
                if not reply.done():
                    reply.set_result(answer)

        self._loop.create_task(exchange(), context=self._loop.world.context.copy())
        return await reply

    def _as_told_here(self, error: ApiError) -> ApiError:
        """The reset time of a 429 by the local clock; None where this API does not tell."""
        if isinstance(error, Refused) and error.reset_at is not None:
            told = self._api.weather.storm_tells_reset
            error.reset_at = self._epoch() + error.reset_at - self._loop.time() if told else None
        return error
