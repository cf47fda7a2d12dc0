"""`embed`: what a person is told who waits for one vector, and what it says when something goes wrong."""

from collections.abc import Callable

import pytest

from tests.fakes.api import FakeApi
from tests.fakes.virtual_time import EPOCH, VirtualClock, run
from worker.commands.embed import explained, followed, submitted, vector_of
from worker.commands.following import Following
from worker.core.endings import Call
from worker.errors import ApiError, Refused, Unanswered, WorkerError
from worker.model import Completed, EmbedRequest, Job, Metrics

DEADLINE = 120.0
REQUEST = EmbedRequest("text", None, None)
BAD_GATEWAY = Refused(502, "Bad Gateway", is_json=False)


class Told:
    """What came of one job: its result or the error's text, the lines that were told, and when it ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.error = ""
        self.seconds = 0.0
        self.api = FakeApi(VirtualClock())


def follow(prepare: Callable[[FakeApi], None]) -> Told:
    told = Told()

    async def main() -> None:
        clock = VirtualClock()
        prepare(told.api)
        job = Job(await told.api.submit(REQUEST), clock.epoch(), 1)
        try:
            unit = lambda: 0.5  # noqa: E731
            await followed(Following(told.api, job, DEADLINE, clock=clock, tell=told.lines.append, unit=unit), job)
        except WorkerError as error:
            told.error = str(error)
        told.seconds = clock.monotonic()

    run(main())
    return told


def failing_once_done(error: ApiError, times: int) -> Callable[[FakeApi], None]:
    """The status says that the job is done, then its result fails."""

    def prepare(api: FakeApi) -> None:
        left = [None, *([error] * times)]
        api.polls_down = lambda: left.pop(0) if left else None

    return prepare


def test_a_job_that_ends_soon_is_not_told_of() -> None:
    told = follow(lambda api: None)
    assert (told.lines, told.error) == ([], "")


def test_a_job_that_takes_long_is_told_of_after_10_seconds_and_then_every_30() -> None:
    def down(api: FakeApi) -> None:
        api.polls_down = lambda: BAD_GATEWAY

    told = follow(down)
    assert [line.partition(": ")[0] for line in told.lines] == [
        f"job job-0 is not done after {seconds} s" for seconds in (10, 40, 70, 100)
    ]
    assert told.lines[0].endswith(": HTTP 502: Bad Gateway; asking again until 120 s (api.deadline)")
    assert "job-0 is not done after 120 s: HTTP 502: Bad Gateway (api.deadline)" in told.error


def test_the_last_error_is_told_no_longer_once_a_poll_was_answered() -> None:
    def slow(api: FakeApi) -> None:
        api.latency = 15.0
        api.poll_troubles.append(BAD_GATEWAY)

    told = follow(slow)
    assert told.lines == ["job job-0 is not done after 10 s; asking again until 120 s (api.deadline)"]


def test_of_a_job_that_is_done_only_the_result_is_asked_for_again() -> None:
    told = follow(failing_once_done(BAD_GATEWAY, 3))
    assert told.error == ""
    assert told.api.calls["status"] == 1
    assert told.api.calls["result"] == 4


def test_a_result_that_is_gone_is_told_with_its_job() -> None:
    told = follow(failing_once_done(Refused(404, "Request job-0 not found", is_json=True), 1000))
    assert told.lines[0].startswith("job job-0 is done, its result is not fetched after 10 s: HTTP 404: ")
    assert told.error.startswith("job job-0 is done, its result is not fetched after 120 s: HTTP 404: ")


def test_failures_are_counted_anew_after_an_answer() -> None:
    def flaky(api: FakeApi) -> None:
        api.latency = 20.0
        answers = [*([BAD_GATEWAY] * 6), None, BAD_GATEWAY]
        api.polls_down = lambda: answers.pop(0) if answers else None

    # after six failures in a row the seventh would be waited for up to 32 s
    assert follow(flaky).seconds < 40.0


def test_a_rate_limit_is_asked_again_once_it_opens() -> None:
    def throttled(api: FakeApi) -> None:
        api.poll_troubles.append(Refused(429, "Rate limit exceeded", is_json=True, reset_at=EPOCH + 60.0))

    told = follow(throttled)
    assert told.error == ""
    assert told.api.calls["status"] == 2
    assert 60.0 <= told.seconds < 61.0
    assert "HTTP 429: Rate limit exceeded" in told.lines[0]


def test_a_rate_limit_that_opens_after_the_deadline_is_not_waited_for() -> None:
    def throttled(api: FakeApi) -> None:
        api.poll_troubles.append(Refused(429, "Rate limit exceeded", is_json=True, reset_at=EPOCH + 6000.0))

    assert follow(throttled).seconds == pytest.approx(DEADLINE, abs=0.1)


@pytest.mark.parametrize(
    ("trouble", "may_be_billed"),
    [
        (Unanswered("ReadError: gone", sent=True), True),
        (Unanswered("ConnectError: refused", sent=False), False),
        (Refused(504, "Gateway Timeout", is_json=False), True),
        (Refused(400, "no", is_json=True), False),
    ],
)
def test_a_post_whose_answer_was_lost_says_that_it_may_be_billed(trouble: ApiError, may_be_billed: bool) -> None:
    async def main() -> str:
        api = FakeApi(VirtualClock())
        api.submit_troubles.append(trouble)
        with pytest.raises(WorkerError) as refused:
            await submitted(api, REQUEST)
        return str(refused.value)

    assert ("then it is billed" in run(main())) is may_be_billed


def test_a_vector_that_is_none_is_told_with_its_job() -> None:
    with pytest.raises(WorkerError) as refused:
        vector_of(Job("job-7", EPOCH, 1), Completed([1.0, "a"], Metrics()), None)
    assert str(refused.value) == (
        "job job-7, which is paid, brought no usable vector: the vector of 2 holds a string where a number belongs"
    )


@pytest.mark.parametrize(
    "error",
    [
        Refused(401, "API key is invalid; really", is_json=True),
        Refused(402, "Insufficient credits", is_json=True),
        Refused(403, "no access", is_json=True),
        Refused(404, "no such model", is_json=True),
        Refused(406, "odd", is_json=True),
        Refused(415, "odd", is_json=True),
    ],
)
def test_nothing_resumes_by_itself_where_one_call_was_made(error: Refused) -> None:
    said = explained(Call.SUBMIT, error)
    assert "resumes" not in said
    assert error.message in said
    assert said[-1].isalpha()
