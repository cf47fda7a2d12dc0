"""The bodies that tell of a job: accepted, running, completed with its vector, failed."""

import orjson

from worker.emulator.answers import Reply, error, json_bytes, not_found
from worker.emulator.config import EmulatorConfig
from worker.emulator.jobs import Job, State
from worker.emulator.shapes import SHAPES
from worker.emulator.vectors import Vectorizer


def accepted(job: Job, host: str) -> Reply:
    """The answer to a POST; its URLs are on the host that the client named."""
    base = f"http://{host}"
    body = {
        "request_id": job.request_id,
        "status": "QUEUED",
        "poll_url": f"{base}/v1/requests/{job.request_id}",
        "status_url": f"{base}/v2/requests/{job.request_id}/status",
        "response_url": f"{base}/v2/requests/{job.request_id}",
    }
    return Reply(200, json_bytes(body))


def status(job: Job, now: float, config: EmulatorConfig) -> Reply:
    """State and metrics without the output; FAILED is a 422."""
    state = job.state(now)
    if state is State.FAILED:
        return Reply(422, _failed(job, now))
    body = {"status": state, "request_id": job.request_id, "metrics": _metrics(job, now, state, config)}
    return Reply(200, orjson.dumps(body))


def result(job: Job, now: float, config: EmulatorConfig, vectorizer: Vectorizer) -> Reply:
    """The output of a COMPLETED job, 422 for a FAILED one; for a running one what `running_result` says."""
    state = job.state(now)
    if state is State.FAILED:
        return Reply(422, _failed(job, now))
    if state is State.COMPLETED:
        return Reply(200, _completed(job, now, config, vectorizer))
    if config.running_result == 200:
        return status(job, now, config)
    if config.running_result == 404:
        return not_found(job.request_id)
    if config.running_result == 400:
        return error(400, f"Request {job.request_id} is not completed yet")
    return error(500, "Internal server error")


def polled(job: Job, now: float, config: EmulatorConfig, vectorizer: Vectorizer) -> Reply:
    """The older call behind `poll_url`: always 200, with the output once there is one."""
    state = job.state(now)
    if state is State.FAILED:
        return Reply(200, _failed(job, now))
    if state is State.COMPLETED:
        return Reply(200, _completed(job, now, config, vectorizer))
    return status(job, now, config)


def _metrics(job: Job, now: float, state: State, config: EmulatorConfig) -> dict[str, float]:
    metrics = job.metrics(now)
    if state is State.COMPLETED:
        metrics["cost"] = config.price
        metrics["remaining_credits"] = job.remaining_credits
    return metrics


def _failed(job: Job, now: float) -> bytes:
    return orjson.dumps({"status": State.FAILED, "error": job.error, "metrics": job.metrics(now)})


def _completed(job: Job, now: float, config: EmulatorConfig, vectorizer: Vectorizer) -> bytes:
    # Rendered anew for each fetch: a worker fetches once, and a kept body would take 40 KB for an hour.
    vector: list[float | str] = list(vectorizer.vector(job.text, job.dimensions, job.task_type))
    if job.bad_vector == "length":
        vector.pop()
    elif job.bad_vector == "nan":
        vector[-1] = "NaN"
    output = SHAPES[job.shape](orjson.dumps(vector))
    metrics = orjson.dumps(_metrics(job, now, State.COMPLETED, config))
    return b'{"status":"COMPLETED","output":' + output + b',"metrics":' + metrics + b"}"
