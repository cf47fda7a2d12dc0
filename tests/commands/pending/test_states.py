"""`pending --fetch`: every job is asked for once, slowly, and no longer than the API likes it."""

import asyncio
from collections import deque
from collections.abc import Callable

import pytest

from tests.fakes.api import FakeApi
from tests.fakes.virtual_time import VirtualClock, run
from worker.commands.pending.states import Answers, Seen, polite_rate, states_of
from worker.core.ledger import Entry, Mark
from worker.core.pending import PartitionState, Standing
from worker.errors import ApiError, ProtocolError, Refused, Unanswered
from worker.model import EmbedRequest, TopicPartition
from worker.settings import PaceSettings


def partition(*marks: Mark) -> PartitionState:
    entries = tuple(Entry(offset, mark) for offset, mark in enumerate(marks))
    return PartitionState(TopicPartition("texts", 0), Standing.LEDGER, 0, entries=entries)


def job(request_id: str, submitted_at: float = 1.0) -> Mark:
    return Mark(request_id, submitted_at, 1)


def asked(
    *marks: Mark, rate: float = 1.0, prepare: Callable[[FakeApi], None] = lambda api: None
) -> tuple[Answers, float, FakeApi, list[str]]:
    """What was seen, the seconds it took, the API and what was said."""

    async def main() -> tuple[Answers, float, FakeApi, list[str]]:
        clock = VirtualClock()
        api = FakeApi(clock, latency=30.0)
        for text in ("running", "failed", "done"):
            api.failures[text] = deque(["the model is overloaded"] if text == "failed" else [])
            await api.submit(EmbedRequest(text, None, None))
        api.jobs["job-1"].seconds = api.jobs["job-2"].seconds = 0.0
        prepare(api)
        said: list[str] = []
        began = clock.monotonic()
        answers = await states_of([partition(*marks)], api, rate, clock, said.append)
        return answers, clock.monotonic() - began, api, said

    return run(main())


def test_each_state_is_told() -> None:
    answers, *_ = asked(*(job(f"job-{n}") for n in range(4)))
    assert answers.stopped is None
    assert answers.seen == {
        "job-0": Seen("PROCESSING"),
        "job-1": Seen("FAILED", "the model is overloaded"),
        "job-2": Seen("COMPLETED"),
        "job-3": Seen("gone"),
    }
    assert str(answers.seen["job-1"]) == "FAILED: the model is overloaded"


def test_the_one_that_expires_first_is_asked_first_and_each_only_once() -> None:
    marks = (job("job-0", 9.0), job("job-2", 5.0), job("job-1", 7.0), job("job-0", 9.0), Mark(claims=1))
    answers, _, api, _ = asked(*marks)
    assert list(answers.seen) == ["job-2", "job-1", "job-0"]
    assert api.calls["status"] == 3
    assert api.calls["result"] == 0


@pytest.mark.parametrize("rate", [0.1, 1.0, 20.0])
def test_no_more_is_asked_in_a_second_than_was_agreed(rate: float) -> None:
    _, seconds, api, said = asked(*(job(f"x-{n}") for n in range(11)), rate=rate)
    assert api.calls["status"] == 11
    assert seconds >= 10 / rate
    assert len(said) == 1
    assert f"11 jobs at {rate:g} a second" in said[0]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Refused(429, "slow down", is_json=True), "rate limit is reached"),
        (Refused(401, "bad key", is_json=True), "SEGMIND_API_KEY"),
        (Refused(404, "<html>", is_json=False), "api.base_url"),
    ],
)
def test_the_first_sign_that_the_api_does_not_want_more_ends_the_questions(trouble: ApiError, words: str) -> None:
    marks = [job(f"job-{n}", float(n)) for n in range(3)]
    answers, _, api, _ = asked(*marks, prepare=lambda api: api.poll_troubles.append(trouble))
    assert answers.seen == {}
    assert answers.stopped is not None
    assert words in answers.stopped
    assert answers.stopped.endswith("3 of 3 jobs were not asked for")
    assert api.calls["status"] == 1


def test_a_state_that_cannot_be_told_does_not_end_the_questions() -> None:
    def prepare(api: FakeApi) -> None:
        api.poll_troubles += [ProtocolError("unknown job status: HM", 200), Refused(500, "oops", is_json=True)]

    answers, *_ = asked(*(job(f"job-{n}", float(n)) for n in range(3)), prepare=prepare)
    assert [seen.state for seen in answers.seen.values()] == ["unknown", "unknown", "COMPLETED"]


def test_an_api_that_does_not_answer_is_not_waited_for_for_long() -> None:
    def prepare(api: FakeApi) -> None:
        api.down = lambda: Unanswered("ConnectError: refused", sent=False)

    answers, _, api, _ = asked(*(job(f"job-{n}", float(n)) for n in range(10)), prepare=prepare)
    assert api.calls["status"] == 3
    assert answers.stopped is not None
    assert "does not answer" in answers.stopped


@pytest.mark.parametrize(("limit", "rate"), [(None, 0.1), (5.0, 5 / 600), (60.0, 0.1), (600.0, 1.0), (6000.0, 1.0)])
def test_the_usual_rate_is_a_tenth_of_the_accounts_limit_and_never_more_than_one_a_second(
    limit: float | None, rate: float
) -> None:
    assert polite_rate(PaceSettings(requests_per_minute=limit)) == pytest.approx(rate)


def test_it_can_be_interrupted() -> None:
    async def main() -> None:
        clock = VirtualClock()
        states = [partition(*(job(f"x-{n}") for n in range(100)))]
        task = asyncio.create_task(states_of(states, FakeApi(clock), 0.01, clock, lambda line: None))
        await clock.sleep(500.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
