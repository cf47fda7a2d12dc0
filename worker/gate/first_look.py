"""The first look at the API, when the worker starts."""

from worker.core.halting import Asks, Cause, HealedBy
from worker.core.outage import is_failure
from worker.errors import ApiError, Refused
from worker.gate.gate import Gate
from worker.ports import Clock, EmbeddingApi

PAUSES, LOOKING = (0.2, 0.5), 2.0
"""Seconds before the second and third look, and after which no other one begins."""


async def look_at_api(api: EmbeddingApi, gate: Gate, clock: Clock, *, counts_outages: bool) -> None:
    """Without a usable API the worker starts all the same: halted, and healing by itself. One call that fails proves nothing.
    `counts_outages`: an outage halts nothing."""
    ends = clock.monotonic() + LOOKING
    cause = await _problem(api, counts_outages=counts_outages)
    for pause in PAUSES:
        if cause is None or cause.key != "unreachable" or clock.monotonic() > ends:
            break
        await clock.sleep(pause)
        cause = await _problem(api, counts_outages=counts_outages)
    if cause:
        gate.halt(cause)


async def _problem(api: EmbeddingApi, *, counts_outages: bool) -> Cause | None:
    """What the free call shows. Where it answers, if not as the contract says, the calls that matter will tell."""
    try:
        await api.credits()
    except ApiError as error:
        if isinstance(error, Refused) and error.status in {401, 403}:
            sentence = f"api_key: the API refuses the key ({error}): set SEGMIND_API_KEY; intake resumes by itself"
            return Cause("api_key", sentence, polls_too=True, healed_by=HealedBy.CALL, asks=Asks.ANSWER)
        if is_failure(error) and not counts_outages:
            return unreachable(error)
    return None


def unreachable(error: ApiError) -> Cause:
    """The API could not be reached when the worker started."""
    sentence = f"unreachable: the API does not answer ({error}): check api.base_url; intake resumes by itself"
    return Cause("unreachable", sentence, polls_too=True, healed_by=HealedBy.CALL, asks=Asks.ANSWER)
