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
        return f"{KEY}: {self._shown_balance()}{needs}{said}: top up; intake resumes by itself"

    def _shown_balance(self) -> str:
        """Nothing of a balance that covers a call: it is older than the refusal, and would contradict it."""
        if self.balance is None:
            return "balance not known yet, "
        return "" if self.balance > 0.0 and self.balance >= (self.cost or 0.0) else f"balance {amount(self.balance)}, "


def amount(usd: float) -> str:
    """USD with two decimals, with six where two would show nothing."""
    return f"{usd:.2f}" if usd == 0.0 or abs(usd) >= 0.01 else f"{usd:.6f}"
