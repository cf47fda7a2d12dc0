"""Does the result endpoint answer for a job that still runs? Nobody publishes it; where it does, no status call is needed.

unknown --says "running"--> yes      unknown or yes --3 refusals in a row--> no (for the life of the process)
"""

ENOUGH = 3
"""Refusals in a row that are taken for the endpoint's nature and not for a passing fault."""

REFUSALS = frozenset({400, 404, 500})
"""Statuses by which the endpoint may say that the job is not done (design, section 4). They are not judged: the status call,
which then follows, tells what is really the matter."""


class ResultEndpoint:
    """What is known of the API's result endpoint. While nothing is, only as many jobs at once try it as refusals are needed to
    know better: finding out costs next to nothing."""

    def __init__(self) -> None:
        self._answers = False
        self._refusals = 0
        self._trying = 0

    def ask_first(self) -> bool:
        """Whether this poll should go to the result endpoint. If so, one of the other methods must be called after it."""
        if self._refusals + (0 if self._answers else self._trying) >= ENOUGH:
            return False
        self._trying += 1
        return True

    def says_running(self) -> None:
        """It answered for a job that is not done."""
        self._answers, self._refusals = True, 0
        self._trying -= 1

    def refused(self) -> None:
        """It refused, with a status of REFUSALS."""
        self._refusals += 1
        self._trying -= 1

    def says_nothing(self) -> None:
        """The job was done, or the call failed otherwise: nothing was learned."""
        self._trying -= 1
