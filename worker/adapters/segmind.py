"""The port EmbeddingApi: Segmind's v2 API through an `httpx.AsyncBaseTransport`.

The requests go straight to the transport, without an `httpx.AsyncClient` around it: `http_transport` shows what that saves.
Without the client nothing follows redirects, keeps cookies, logs URLs, reads proxies from the environment or decompresses
without bound; in return this module sets the timeouts of every request, and bounds and decodes every body.
No request is repeated here. aiohttp itself repeats a GET once when a kept-alive connection turns out to be dead, a POST never.

The key must not leave in an exception, so errors are raised outside the `except` block: a foreign exception that stayed as
their context would hold the request with its headers.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import orjson

from worker.core.answers import (
    account_credits,
    envelope_message,
    is_request_id,
    job_result,
    job_state,
    raise_if_failed,
    request_id,
)
from worker.core.api_key import ApiKey
from worker.core.api_url import api_prefix, proxy_address
from worker.core.http_body import LARGEST_BODY, LARGEST_ERROR, decompressed
from worker.core.rate_limit_reset import reset_at
from worker.core.redaction import WINDOW
from worker.errors import ApiError, ProtocolError, Refused, Unanswered
from worker.model import Completed, Credits, EmbedRequest, JobState
from worker.settings.sections import ApiSettings

POST_CONNECT_SECONDS: Final = 0.5
"""Most seconds a POST waits for a free connection, and for a new one: rule 5 of the commit protocol."""

NOTHING: Final = httpx.ByteStream(b"")

_UNSENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class _Answer(NamedTuple):
    """An HTTP answer as it came; `whole` is False where the body was cut for its size or could not be decompressed."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool


class SegmindApi:
    """Submits jobs, asks for their status and fetches results. Raises ApiError and nothing else once it is built.

    `transport` comes from `http_transport.open_transport` and is closed with this object. `read_key` returns the API key and is
    called again after a 401. `clock_epoch` gives seconds since 1970. Raises ConfigurationError for an unusable key or base URL.
    """

    def __init__(
        self,
        settings: ApiSettings,
        read_key: Callable[[], str],
        transport: httpx.AsyncBaseTransport,
        clock_epoch: Callable[[], float],
    ) -> None:
        prefix = api_prefix(settings.base_url)
        proxy_password = proxy_address(settings.proxy).password if settings.proxy else ""
        self._key = ApiKey(read_key, (proxy_password,))
        self._transport = transport
        self._epoch = clock_epoch
        self._text_field = settings.text_field
        self._extra = dict(settings.extra)
        self._timeout = settings.timeout
        self._closed = False
        self._url = httpx.URL(prefix)
        self._path = urlsplit(prefix).path
        self._submit_path = f"{self._path}/v2/{quote(settings.model, safe='')}"
        self._get_headers = [
            (b"host", self._url.netloc),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),  # unpacking costs more CPU than the bytes saved are worth
            (b"user-agent", b"embedding-worker"),
        ]
        self._post_headers = [*self._get_headers, (b"content-type", b"application/json")]
        # The whole call is bounded by asyncio.timeout, so that only the phases before sending need bounds of their own; half,
        # so that one of them ends first and it is known that nothing was sent.
        phase = settings.timeout / 2
        self._get_limits = _limits(phase)
        self._post_limits = _limits(min(POST_CONNECT_SECONDS, phase))

    async def submit(self, request: EmbedRequest) -> str:
        """Start a job (billed); returns its request_id."""
        answer = await self._exchange("POST", self._submit_path, self._encoded(request))
        document = self._success(answer)
        identifier = request_id(document, answer.status)
        if self._key.redactor.holds_secret(identifier):
            raise ProtocolError("the answer to a submit holds a secret in place of a request_id", answer.status)
        return identifier

    async def status(self, request_id: str) -> JobState:
        """How far the job is. Raises JobFailed where it FAILED."""
        answer = await self._exchange("GET", self._job_path(request_id, "/status"))
        return job_state(self._success(answer, of_job=True), answer.status, self._clean)

    async def result(self, request_id: str) -> Completed | JobState:
        """The result, or the state of a job that is not done where the API tells it. Raises JobFailed where it FAILED."""
        answer = await self._exchange("GET", self._job_path(request_id))
        return job_result(self._success(answer, of_job=True), answer.status, self._clean)

    async def credits(self) -> Credits:
        """The account's balance in USD; costs nothing."""
        answer = await self._exchange("GET", f"{self._path}/v1/get-user-credits")
        return account_credits(self._success(answer), answer.status)

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        if not self._closed:
            self._closed = True
            await self._transport.aclose()

    def _job_path(self, identifier: str, suffix: str = "") -> str:
        if not is_request_id(identifier):
            raise ProtocolError("not asked: the request_id is not one that the API can have given", 0)
        return f"{self._path}/v2/requests/{quote(identifier, safe='')}{suffix}"

    def _encoded(self, request: EmbedRequest) -> bytes:
        body = {**self._extra, self._text_field: request.text}
        if request.task_type is not None:
            body["task_type"] = request.task_type
        if request.output_dimensionality is not None:
            body["output_dimensionality"] = request.output_dimensionality
        with contextlib.suppress(TypeError):
            return orjson.dumps(body)
        # What the API would say to it, too: the event is at fault.
        raise Refused(400, "not sent: the text or a parameter cannot be written as JSON", is_json=False)

    async def _exchange(self, method: str, path: str, content: bytes | None = None) -> _Answer:
        """One request and its answer, both in at most `timeout` seconds. Raises Unanswered."""
        if self._closed:
            raise Unanswered("the API client is closed", sent=False)
        failure: ApiError
        bound = asyncio.timeout(self._timeout)
        key = self._key.present()
        try:
            async with bound:
                answer = await self._carry(self._request(method, path, content, key))
                if answer.status == 401:
                    self._key.refuse(key)
                return answer
        except Exception as error:  # noqa: BLE001 - whatever the network or a library comes up with
            failure = self._unanswered(error)
            if bound.expired():
                failure = Unanswered(f"no complete answer within {self._timeout:g} s", sent=True)
        finally:
            del key  # a traceback that shows local variables must not show it
        raise failure

    def _request(self, method: str, path: str, content: bytes | None, key: str) -> httpx.Request:
        """The path goes as httpcore's extension `target`: an httpx.URL made for each request would cost more than the rest."""
        headers = self._get_headers if content is None else self._post_headers
        return httpx.Request(
            method,
            self._url,
            headers=[*headers, (b"x-api-key", key.encode("ascii"))],
            stream=NOTHING if content is None else httpx.ByteStream(content),  # given as such, httpx adds no headers
            extensions={
                "timeout": self._get_limits if content is None else self._post_limits,
                "target": path.encode("ascii"),
            },
        )

    async def _carry(self, request: httpx.Request) -> _Answer:
        response = await self._transport.handle_async_request(request)
        stream = response.stream
        chunks: list[bytes] = []
        room = LARGEST_BODY if 200 <= response.status_code < 300 else LARGEST_ERROR
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the transport gave a stream that cannot be read asynchronously")
        try:
            async for chunk in stream:
                chunks.append(chunk[:room])
                room -= len(chunk)
                if room < 0:
                    break
        finally:
            # What was read counts: a failure to close must not turn an accepted job into an unknown one.
            with contextlib.suppress(Exception):
                await stream.aclose()
        body, whole = decompressed(b"".join(chunks), response.headers.get("content-encoding", ""))
        return _Answer(response.status_code, response.headers, body, whole and room >= 0)

    def _success(self, answer: _Answer, *, of_job: bool = False) -> object:
        """The parsed body of a success. Raises ProtocolError, Refused and, for GETs of a job, JobFailed."""
        status = answer.status
        document = _parsed(answer.body) if answer.whole else None
        if 200 <= status < 300:
            if not answer.whole:
                raise ProtocolError(f"the body is larger than {LARGEST_BODY} bytes or badly compressed", status)
            if document is None:
                raise ProtocolError("the body is not JSON", status)
            return document
        if status == 422 and of_job:
            raise_if_failed(document, self._clean)
        raise self._refused(answer, document)

    def _refused(self, answer: _Answer, document: object) -> Refused:
        envelope = envelope_message(document)
        message = envelope if envelope is not None else answer.body[: 4 * (WINDOW + 1)].decode("utf-8", "replace")
        opens = None
        if 300 <= answer.status < 400:
            message = f"redirects are not followed, set WORKER_API__BASE_URL to {answer.headers.get('location', '?')}"
        elif answer.status == 401 and self._key.problem:
            message = f"{message} ({self._key.problem})"
        elif answer.status == 429 and (header := answer.headers.get("x-rate-limit-reset-at-utc")) is not None:
            opens = reset_at(header, answer.headers.get("date"), self._epoch())
        return Refused(answer.status, self._clean(message), is_json=envelope is not None, reset_at=opens)

    def _unanswered(self, error: Exception) -> Unanswered:
        """What an exception of the transport says; the one behind it is the more exact one."""
        origin = error.__cause__ if isinstance(error.__cause__, Exception) else error
        text = self._clean(f"{type(origin).__name__}: {_text(origin)}")
        return Unanswered(text, sent=not isinstance(error, _UNSENT))

    def _clean(self, text: str) -> str:
        return self._key.redactor.clean(text)


def _limits(seconds: float) -> dict[str, float | None]:
    return {"connect": seconds, "pool": seconds, "read": None, "write": None}


def _parsed(body: bytes) -> object:
    """The JSON document; None where the body is none."""
    try:
        return orjson.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - some exceptions cannot even say what they are
        return ""
