"""Everything that can be set on the emulator, checked on construction and changeable while it runs."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from worker.emulator.latency import parse_latency
from worker.emulator.shapes import SHAPES

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class InvalidConfigError(ValueError):
    """A field is unknown or has a wrong value; the message names it and what is wanted."""


def _latency(text: str) -> str:
    parse_latency(text)
    return text


def _shape(name: str) -> str:
    if name not in SHAPES:
        raise ValueError(f"no such shape; one of {', '.join(SHAPES)}")
    return name


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EmulatorConfig:
    """One account of the emulated API: who may call, how long jobs take, what goes wrong and what it costs.

    Times are seconds, money is USD, rates are probabilities from 0 to 1. Defaults are an obliging API with the latency
    and the price that Segmind publishes for gemini-embedding-001. Raises pydantic's ValidationError (a ValueError).
    """

    # Who may call what. No keys: any non-empty key is accepted. All keys belong to one account.
    api_keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ("gemini-embedding-001",)
    forbidden_models: tuple[str, ...] = ()
    retired_models: tuple[str, ...] = ()

    # What a body may hold. The vendor checks parameters when the job runs ("asynchronous"); "synchronous" refuses the
    # POST with validation_status instead.
    text_field: Annotated[str, Field(min_length=1)] = "input"
    validation: Literal["asynchronous", "synchronous"] = "asynchronous"
    validation_status: Literal[400, 406, 500] = 400
    max_input_tokens: Annotated[int, Field(ge=1)] = 2048
    markers: bool = True

    # Jobs.
    latency: Annotated[str, AfterValidator(_latency)] = "lognormal:mean=0.7,sigma=0.5"
    queue_share: Rate = 0.1
    retention_seconds: Seconds = 3600.0
    running_result: Literal[200, 400, 404, 500] = 200
    output_shape: Annotated[str, AfterValidator(_shape)] = "flat"
    seed: int = 0

    # Money.
    credits: Amount = 1000.0
    free_credits: Amount = 0.0
    price: Amount = 0.000033

    # Pace, for the whole account. 0: no limit. A window (or a full bucket) holds
    # requests_per_minute * rate_limit_window_seconds / 60 requests, at least one.
    requests_per_minute: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    rate_limit: Literal["fixed", "token_bucket"] = "fixed"
    rate_limit_window_seconds: Annotated[float, Field(gt=0.0, le=86400.0)] = 60.0
    rate_limit_counts_gets: bool = True
    rate_limit_header: Literal["epoch_seconds", "epoch_milliseconds", "iso", "none"] = "epoch_seconds"
    # Added to the emulator's own idea of UTC (Date and rate limit headers): an API whose clock is wrong.
    clock_skew_seconds: Annotated[float, Field(ge=-1e8, le=1e8)] = 0.0

    # Faults of POSTs, then those of GETs.
    error_statuses: Annotated[tuple[Literal[500, 502, 504], ...], Field(min_length=1)] = (500, 502, 504)
    error_rate: Rate = 0.0
    reset_before: Rate = 0.0
    reset_after: Rate = 0.0
    slow_rate: Rate = 0.0
    slow_seconds: Seconds = 5.0
    get_error_rate: Rate = 0.0
    get_reset_before: Rate = 0.0
    get_reset_after: Rate = 0.0
    get_slow_rate: Rate = 0.0
    get_slow_seconds: Seconds = 5.0


def reconfigured(config: EmulatorConfig, changes: Mapping[str, object]) -> EmulatorConfig:
    """`config` with `changes` applied, all or none. Raises InvalidConfigError."""
    known = [field.name for field in dataclasses.fields(config)]
    unknown = sorted(changes.keys() - set(known))
    if unknown:
        raise InvalidConfigError(f"unknown field {', '.join(map(repr, unknown))}; known are {', '.join(known)}")
    try:
        return dataclasses.replace(config, **dict[str, Any](changes))
    except ValidationError as error:
        raise InvalidConfigError("; ".join(_one_line(dict(problem)) for problem in error.errors())) from None


def as_json_object(config: EmulatorConfig) -> dict[str, Any]:
    """The fields by name; API keys only as their number, for they are secrets."""
    fields = dataclasses.asdict(config)
    fields["api_keys"] = len(config.api_keys)
    return fields


def _one_line(problem: dict[str, Any]) -> str:
    given = problem["input"]
    shown = repr(given) if isinstance(given, str | int | bool) else type(given).__name__
    if isinstance(given, float):
        shown = repr(given) if math.isfinite(given) else "a number that is not finite"
    place = ".".join(str(part) for part in problem["loc"])
    # A key that was mistyped is still a secret.
    got = "" if place.startswith("api_keys") else f" (got {shown[:80]})"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}{got}"
