"""What is known of the account's money, for the sentence that asks for more."""

from worker.core.halting import Cause
from worker.model import Credits, Metrics

KEY = "credits"


class Account:
    """The last balance and the last price of a call that anything has told, in USD."""

    def __init__(self) -> None:
        self.balance: float | None = None
        self.cost: float | None = None

    def billed(self, metrics: Metrics) -> None:
        """A job has brought its result."""
        if metrics.cost is not None:
            self.cost = metrics.cost
        if metrics.remaining_credits is not None:
            self.balance = metrics.remaining_credits

    def told(self, answer: Credits) -> None:
        """The credits call was answered."""
        self.balance = answer.credits + answer.free_credits

    def sentence(self, cause: Cause) -> str:
        """Why intake is halted, with the numbers where the cause is money."""
        if cause.key != KEY:
            return cause.sentence
        said = f" ({cause.said})" if cause.said else ""
        needs = "what a call needs is not known yet" if self.cost is None else f"a call needs {amount(self.cost)}"
        balance = "not known yet" if self.balance is None else amount(self.balance)
        return f"{KEY}: balance {balance}, {needs}{said}: top up; intake resumes by itself"


def amount(usd: float) -> str:
    """USD with two decimals, with six where two would show nothing."""
    return f"{usd:.2f}" if usd == 0.0 or abs(usd) >= 0.01 else f"{usd:.6f}"
