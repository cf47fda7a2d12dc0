"""`embedding-worker embed "text"`: one vector to stdout, without Kafka."""

import json
import random
import sys
from array import array
from typing import Annotated

import typer

from worker.adapters.clock import SystemClock
from worker.commands.configuration import ConfigFile, Flags, run_until_done, settings_from
from worker.commands.following import Following
from worker.commands.opening import open_api
from worker.commands.output import say
from worker.core.acceptance import may_be_accepted
from worker.core.endings import Call, Halt
from worker.core.vectors import extract
from worker.core.verdicts import judge, without_healing
from worker.errors import ApiError, ConfigurationError, InvalidResult, Unanswered, WorkerError
from worker.model import Completed, EmbedRequest, Job
from worker.ports import EmbeddingApi
from worker.settings import Settings

MAYBE_BILLED = (
    "the job may have been accepted, and then it is billed: look at your usage at Segmind before you repeat it"
)


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
    vector = [float(f"{number:.9g}") for number in vector_of(job, completed, settings.api.output_dimensionality)]
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
        job = Job(await submitted(api, request), started, 1)
        following = Following(api, job, settings.api.deadline, clock=clock, tell=to_stderr, unit=random.random)
        return job, await followed(following, job)
    finally:
        await api.close()


async def submitted(api: EmbeddingApi, request: EmbedRequest) -> str:
    """The request_id of the one POST that is made. Raises WorkerError, which says so where it may have been billed."""
    try:
        return await api.submit(request)
    except ApiError as error:
        billed = f"; {MAYBE_BILLED}" if may_be_accepted(error) else ""
        raise WorkerError(f"{explained(Call.SUBMIT, error)}{billed}") from None


async def followed(following: Following, job: Job) -> Completed:
    """The result. Raises WorkerError; names the request_id, which can be fetched for an hour."""
    try:
        return await following.completed()
    except ApiError as error:
        raise WorkerError(explained(Call.STATUS, error, job.request_id)) from None


def vector_of(job: Job, completed: Completed, dimension: int | None) -> "array[float]":
    """The vector of a result. Raises WorkerError, which names the job: it is paid."""
    try:
        return extract(completed.output, dimension)
    except InvalidResult as error:
        raise WorkerError(f"job {job.request_id}, which is paid, brought no usable vector: {error}") from None


def to_stderr(line: str) -> None:
    """What a person reads while the result is not there yet."""
    typer.echo(line, err=True)


def explained(call: Call, error: ApiError, request_id: str | None = None) -> str:
    """The sentence for a person: what the verdict says, and which job it is about."""
    verdict = judge(call, error, request_id=request_id)
    if isinstance(verdict, Halt):
        sentence = without_healing(verdict.cause.sentence)
    elif isinstance(error, Unanswered):
        sentence = f"the API does not answer ({error}): check WORKER_API__BASE_URL, WORKER_API__PROXY and the network"
    else:
        sentence = str(error)
    return f"job {request_id}: {sentence}" if request_id else sentence
