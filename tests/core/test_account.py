"""The sentence that asks for more money."""

import pytest

from worker.core.account import KEY, Account
from worker.core.halting import Cause, HealedBy
from worker.model import Credits, Metrics

REFUSED = Cause(KEY, "no credits", healed_by=HealedBy.SUBMIT, said="HTTP 406: Insufficient credits")


@pytest.mark.parametrize(
    ("balance", "numbers"),
    [
        (None, "balance not known yet, a call needs 0.50"),
        (0.0, "balance 0.00, a call needs 0.50"),
        (0.25, "balance 0.25, a call needs 0.50"),
        (0.5, "a call needs 0.50"),
        (1000.0, "a call needs 0.50"),
    ],
)
def test_a_balance_that_covers_a_call_is_older_than_the_refusal_and_left_out(
    balance: float | None, numbers: str
) -> None:
    account = Account()
    account.billed(Metrics(cost=0.5, remaining_credits=balance))
    said = "(HTTP 406: Insufficient credits): top up; intake resumes by itself"
    assert account.sentence(REFUSED) == f"credits: {numbers} {said}"


def test_where_no_price_is_known_any_balance_is_left_out_but_an_empty_one() -> None:
    account = Account()
    account.told(Credits(credits=9.0, free_credits=1.0))
    assert "balance" not in account.sentence(REFUSED)
    account.told(Credits(credits=0.0, free_credits=0.0))
    assert "balance 0.00, what a call needs is not known yet" in account.sentence(REFUSED)
