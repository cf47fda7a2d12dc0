"""Whether a submit that brought no request_id may have started a job all the same."""

from worker.errors import ApiError, ProtocolError, Refused, Unanswered

_REFUSED_5XX = frozenset({501, 503, 505, 511, 521, 522, 523, 525, 526, 527, 530})
"""The request was not carried out: nobody could take it, or the origin was out of reach."""


def may_be_accepted(error: ApiError) -> bool:
    """True unless the answer says, or the connection shows, that no job was started.

    The contract's rule is that only a success is billed, but a gateway's 502 or 504, a 500 that is not the API's own JSON, and
    an answer that never came all say nothing about what happened behind them.
    """
    if isinstance(error, Unanswered):
        return error.sent
    if isinstance(error, Refused):
        own_error = error.status == 500 and error.is_json
        return error.status >= 500 and error.status not in _REFUSED_5XX and not own_error
    return isinstance(error, ProtocolError)
