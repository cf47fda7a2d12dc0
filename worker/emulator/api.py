"""The emulated API as a function from request to reply: routes, keys, limits, faults. No I/O, no clock of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.emulator import results
from worker.emulator.account import Account
from worker.emulator.answers import (
    Reply,
    auth_error,
    dropped,
    error,
    json_reply,
    not_found,
    vendor_error,
    wrong_verb,
)
from worker.emulator.config import EmulatorConfig
from worker.emulator.rate_limit import reset_header
from worker.emulator.submission import read_submission
from worker.emulator.vectors import Vectorizer


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `headers` is looked up in lower case; `path` has no query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means: a name for the statistics, its verb, and the model or request_id in it."""

    name: str
    method: str
    subject: str = ""


_UNKNOWN = Route("unknown", "")


def route_of(path: str) -> Route:
    """The route of a path; `unknown` for any that the API does not have."""
    if path.startswith("/v2/requests/"):
        request_id = path[13:]
        if request_id.endswith("/status"):
            return Route("status", "GET", request_id[:-7])
        return Route("result", "GET", request_id)
    if path.startswith("/v1/requests/"):
        return Route("poll", "GET", path[13:])
    if path == "/v1/get-user-credits":
        return Route("credits", "GET")
    if path.startswith("/v2/") and len(path) > 4 and "/" not in path[4:]:
        return Route("submit", "POST", path[4:])
    return _UNKNOWN


class Api:
    """Answers calls for one account. `utc` turns a time of the clock into Unix time."""

    def __init__(self, account: Account, utc: Callable[[float], float]) -> None:
        self._account = account
        self._utc = utc
        self._vectorizer = Vectorizer()

    def handle(self, call: Call, now: float) -> Reply:
        """The reply to one call at `now`; the account's time is advanced to it first."""
        account = self._account
        account.advance(now)
        route = route_of(call.path)
        reply = self._with_fault(call, route, now)
        account.statistics.answered(route.name, 0 if reply.reset else reply.status)
        return reply

    def _with_fault(self, call: Call, route: Route, now: float) -> Reply:
        account = self._account
        if route is _UNKNOWN:
            return error(404, "Not found")
        if call.method != route.method:
            return wrong_verb(route.method)
        fault = account.faults.draw(call.method, account.config)
        if fault is None:
            return self._answer(call, route, now)
        account.statistics.faults[f"{route.method} {fault.kind}"] += 1
        if fault.kind == "reset_before":
            return dropped()
        if fault.kind == "error":
            return vendor_error(fault.status)
        reply = self._answer(call, route, now)
        return reply.reset_instead() if fault.kind == "reset_after" else reply.delayed(fault.seconds)

    def _answer(self, call: Call, route: Route, now: float) -> Reply:
        refusal = self._refusal(call, route, now)
        if refusal is not None:
            return refusal
        account = self._account
        if route.name == "submit":
            return self._submit(call, now)
        if route.name == "credits":
            billing = account.billing
            return json_reply(
                200, {"credits": round(billing.credits, 9), "free-credits": round(billing.free_credits, 9)}
            )
        job = account.jobs.get(route.subject)
        if job is None:
            return not_found(route.subject)
        if route.name == "status":
            return results.status(job, now, account.config)
        render = results.result if route.name == "result" else results.polled
        return render(job, now, account.config, self._vectorizer)

    def _refusal(self, call: Call, route: Route, now: float) -> Reply | None:
        """Why the account may not make this call now: key, model, pace, in this order."""
        config = self._account.config
        refusal = _key_refusal(call.headers.get("x-api-key", ""), config)
        if refusal is None and route.name == "submit":
            refusal = _model_refusal(route.subject, config)
        limit = self._account.rate_limit
        if refusal is not None or limit is None or (route.method == "GET" and not config.rate_limit_counts_gets):
            return refusal
        reset_at = limit.refused_until(now)
        if reset_at is None:
            return None
        return error(429, "Rate limit exceeded", reset_header(config.rate_limit_header, self._utc(reset_at)))

    def _submit(self, call: Call, now: float) -> Reply:
        account = self._account
        content_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            return error(406, "Invalid content type")
        balance = account.billing.balance
        if balance < account.config.price:
            return error(406, f"Insufficient credits: {balance:.6f} left, {account.config.price:.6f} needed")
        submission = read_submission(call.body, account.config)
        if isinstance(submission, Reply):
            return submission
        return results.accepted(account.accept(submission, now), call.headers.get("host", "localhost"))


def _key_refusal(key: str, config: EmulatorConfig) -> Reply | None:
    if not key:
        return auth_error(401, "missing_credentials", "Missing Authorization or x-api-key in header")
    if config.api_keys and key not in config.api_keys:
        return auth_error(401, "invalid_api_key", "API key is invalid or expired")
    return None


def _model_refusal(model: str, config: EmulatorConfig) -> Reply | None:
    if model in config.forbidden_models:
        return auth_error(403, "forbidden", f"This account may not call the model {model}")
    if model in config.retired_models:
        return error(410, f"Model {model} is retired and no longer available")
    if model not in config.models:
        return error(404, f"Model {model} not found")
    return None
