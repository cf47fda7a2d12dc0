"""`embedding-worker embed "text"`: one vector to stdout, without Kafka."""

import asyncio
import json
import random
import sys
from typing import Annotated

import typer

from worker.adapters.clock import SystemClock
from worker.commands.configuration import ConfigFile, Flags, run_until_done, settings_from
from worker.commands.opening import open_api
from worker.commands.output import say
from worker.core.backoff import delay
from worker.core.endings import Call, Halt, Reject, Step
from worker.core.polling import PollSchedule
from worker.core.vectors import extract
from worker.core.verdicts import judge
from worker.errors import ApiError, ConfigurationError, Unanswered, WorkerError
from worker.model import Completed, EmbedRequest, Job, JobState
from worker.ports import EmbeddingApi
from worker.settings import Settings


def embed(
    text: Annotated[str, typer.Argument(help="The text; `-` reads it from stdin.")],
    config: ConfigFile = None,
    flags: Flags = None,
    full: Annotated[
        bool,
        typer.Option(
            "--json", help="A JSON object with request_id, model, metrics and vector instead of the bare vector."
        ),
    ] = False,
) -> None:
    """Embed one text and print its vector as a JSON array.

    One POST is made, and is paid; it is never repeated by itself. Needs SEGMIND_API_KEY or SEGMIND_API_KEY_FILE. To try it
    without paying: start `embedding-worker emulator` and set WORKER_API__BASE_URL to its URL.
    """
    settings = settings_from(config, flags)
    words = text_of(text)
    job, completed = run_until_done(embedded(settings, words))
    vector = [float(f"{number:.9g}") for number in extract(completed.output, settings.api.output_dimensionality)]
    if full:
        metrics = {name: getattr(completed.metrics, name) for name in completed.metrics.__slots__}
        facts = {
            "request_id": job.request_id,
            "model": settings.api.model,
            "dimensions": len(vector),
            "metrics": metrics,
        }
        say(json.dumps(facts | {"vector": vector}))
    else:
        say(json.dumps(vector))


def text_of(argument: str) -> str:
    """The text to embed; `-`: what stdin holds. Raises ConfigurationError where it is empty or not UTF-8."""
    try:
        # what the shell gave in other bytes than UTF-8 has become lone surrogates
        words = (sys.stdin.buffer.read() if argument == "-" else argument.encode()).decode()
    except UnicodeError:
        raise ConfigurationError("embed: the text is not UTF-8; convert it, e.g. with iconv -t utf-8") from None
    if not words.strip():
        raise ConfigurationError("embed: the text is empty")
    return words


async def embedded(settings: Settings, text: str) -> tuple[Job, Completed]:
    """The job and its result. Raises WorkerError with a sentence that says what to do."""
    clock = SystemClock()
    api = open_api(settings, clock)
    request = EmbedRequest(text, settings.api.task_type, settings.api.output_dimensionality)
    try:
        started = clock.epoch()
        job = Job(await api.submit(request), started, 1)
        return job, await followed(api, job, settings.api.deadline)
    except ApiError as error:
        raise WorkerError(explained(Call.SUBMIT, error)) from None
    finally:
        await api.close()


async def followed(api: EmbeddingApi, job: Job, deadline: float) -> Completed:
    """Poll to the end. Raises WorkerError; names the request_id, which can be fetched for an hour."""
    clock, schedule = SystemClock(), PollSchedule()
    polls = failures = 0
    await clock.sleep(schedule.first())
    while (age := clock.epoch() - job.submitted_at) < deadline:
        try:
            state = await api.status(job.request_id)
            answer = await api.result(job.request_id) if state is JobState.COMPLETED else state
        except ApiError as error:
            verdict = judge(Call.STATUS, error, age=age, request_id=job.request_id)
            if isinstance(verdict, Reject | Halt) or getattr(verdict, "step", None) is not Step.SAME_CALL:
                raise WorkerError(explained(Call.STATUS, error, job.request_id)) from None
            failures += 1
            await clock.sleep(delay(failures, random.random()))
            continue
        if isinstance(answer, Completed):
            return answer
        polls += 1
        await asyncio.sleep(schedule.next(age, polls))
    raise WorkerError(
        f"job {job.request_id} is not done after {deadline:.0f} s (api.deadline); its result lives for an hour"
    )


def explained(call: Call, error: ApiError, request_id: str | None = None) -> str:
    """The sentence for a person: what the verdict says, and which job it is about."""
    verdict = judge(call, error, request_id=request_id)
    if isinstance(verdict, Halt):
        sentence = verdict.cause.sentence.replace("; intake resumes by itself", "")
    elif isinstance(error, Unanswered):
        sentence = f"the API does not answer ({error}): check WORKER_API__BASE_URL, WORKER_API__PROXY and the network"
    else:
        sentence = str(error)
    return f"job {request_id}: {sentence}" if request_id else sentence
