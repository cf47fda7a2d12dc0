"""What the account has left and what it was billed for."""

import hashlib
from collections import Counter

from worker.emulator.jobs import Job

_DIGEST_BYTES = 32


class Billing:
    """The balance of the one account, in USD, and every bill by what it was for.

    Bills are kept (about 200 bytes for each different text) until the emulator is reset.
    """

    def __init__(self, paid: float, free: float) -> None:
        self.credits = paid
        self.free_credits = free
        self.bills = 0
        self.billed_total = 0.0
        self._bills: dict[bytes, int] = {}

    @property
    def balance(self) -> float:
        """Credits and free credits together, in USD; below 0 if jobs that ran when it fell short were billed."""
        return round(self.credits + self.free_credits, 9)

    def bill(self, job: Job, price: float) -> None:
        """Charge a COMPLETED job, free credits first, and note the balance on it."""
        free = min(self.free_credits, price)
        self.free_credits -= free
        self.credits -= price - free
        self.bills += 1
        self.billed_total += price
        job.remaining_credits = self.balance
        digest = hashlib.sha256(job.text.encode("utf-8")).digest()
        key = digest + f"{job.dimensions},{job.task_type}".encode()
        self._bills[key] = self._bills.get(key, 0) + 1

    @property
    def billed_texts(self) -> int:
        """How many different (text, dimensions, task type) were billed."""
        return len(self._bills)

    def by_text(self) -> dict[str, int]:
        """Number of bills by the hex SHA-256 of the text's UTF-8, whatever the parameters."""
        bills: Counter[str] = Counter()
        for key, count in self._bills.items():
            bills[key[:_DIGEST_BYTES].hex()] += count
        return dict(bills)
