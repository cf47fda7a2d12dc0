"""The gate: pace, halts and probes, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.api import FakeApi
from tests.fakes.observer import RememberingObserver
from tests.fakes.virtual_time import EPOCH, VirtualClock, run
from worker.core.breaker import LONELY, RUN
from worker.core.endings import Call, Reject, Retry
from worker.core.halting import Asks, Cause, HealedBy
from worker.core.pace import Pace
from worker.errors import Refused, Unanswered
from worker.gate.failures import CallFailedError
from worker.gate.gate import Gate
from worker.model import EmbedRequest
from worker.notices import Halted, Healed, Throttled

NO_CREDITS = Cause("credits", "credits: top up", asks=Asks.BALANCE)
REFUSED_KEY = Cause("api_key", "api_key: set it", polls_too=True, healed_by=HealedBy.CALL, asks=Asks.ANSWER)


class Bench:
    """A gate with a fake API, its pump running."""

    def __init__(self, requests_per_minute: float = 60_000.0, *, counts_outages: bool = False) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.observer = RememberingObserver()
        self.gate = Gate(
            Pace(self.clock.monotonic(), requests_per_minute),
            self.api,
            self.clock,
            self.observer,
            lambda: 0.5,
            counts_outages=counts_outages,
        )

    async def submit(self, text: str = "text") -> str:
        return await self.gate.call(Call.SUBMIT, lambda: self.api.submit(EmbedRequest(text, None, None)), event=text)

    async def status(self, request_id: str, priority: float = 0.0) -> object:
        return await self.gate.call(
            Call.STATUS, lambda: self.api.status(request_id), event=request_id, priority=priority, request_id=request_id
        )


def at_the_gate(
    test: Callable[[Bench], Awaitable[None]], requests_per_minute: float = 60_000.0, *, counts_outages: bool = False
) -> None:
    async def main() -> None:
        bench = Bench(requests_per_minute, counts_outages=counts_outages)
        pump = asyncio.create_task(bench.gate.run())
        try:
            async with asyncio.timeout(7 * 86400):
                await test(bench)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    run(main())


def test_calls_go_out_at_the_configured_pace() -> None:
    async def test(bench: Bench) -> None:
        await asyncio.gather(*(bench.submit(f"{n}") for n in range(61)))
        assert 59 <= bench.clock.monotonic() <= 61

    at_the_gate(test, requests_per_minute=60)


def test_polls_are_let_in_before_submits_and_older_jobs_before_younger() -> None:
    async def test(bench: Bench) -> None:
        order: list[str] = []

        async def call(kind: Call, name: str, priority: float) -> None:
            async def note() -> None:
                order.append(name)

            await bench.gate.call(kind, note, event=name, priority=priority)

        await bench.submit()
        async with asyncio.TaskGroup() as group:
            for kind, name, priority in (
                (Call.SUBMIT, "submit", 0.0),
                (Call.STATUS, "young", 9.0),
                (Call.STATUS, "old", 1.0),
            ):
                group.create_task(call(kind, name, priority))
        assert order == ["old", "young", "submit"]

    at_the_gate(test, requests_per_minute=60)


def test_a_429_shuts_the_gate_until_the_reset_time_and_repeats_the_call() -> None:
    async def test(bench: Bench) -> None:
        bench.api.submit_troubles.append(Refused(429, "slow down", is_json=True, reset_at=EPOCH + 20.0))
        await bench.submit()
        assert 20 <= bench.clock.monotonic() < 21
        assert len(bench.observer.of(Throttled)) == 1
        assert bench.gate.halted is None

    at_the_gate(test)


@pytest.mark.parametrize(
    ("status", "message", "word"),
    [
        (401, "key invalid", "api_key"),
        (403, "not allowed", "forbidden"),
        (404, "no such model", "model"),
        (406, "Insufficient credits: need 0.000033", "credits"),
        (410, "retired", "retired"),
    ],
)
def test_the_accounts_fault_halts_and_one_single_event_probes_until_it_is_gone(
    status: int, message: str, word: str
) -> None:
    async def test(bench: Bench) -> None:
        fault = Refused(status, message, is_json=True)
        bench.api.down = lambda: fault
        waiting = [asyncio.create_task(bench.submit(f"{n}")) for n in range(50)]
        await bench.clock.sleep(1.0)
        assert bench.gate.halted
        assert word in bench.gate.halted
        asked = bench.api.calls.copy()
        await bench.clock.sleep(3600.0)
        # The probes of an hour at 5, 10, 20, ... 300 s, not the crowd.
        probes = bench.api.calls - asked
        assert 5 <= max(probes.values()) <= 20, probes
        bench.api.down = None
        await bench.clock.sleep(301.0)
        assert bench.gate.halted is None
        await asyncio.gather(*waiting)
        assert bench.api.posts.total() == 50
        assert len(bench.observer.of(Halted)) == len(bench.observer.of(Healed)) == 1

    at_the_gate(test)


def test_polls_go_on_while_the_account_is_empty() -> None:
    async def test(bench: Bench) -> None:
        job = await bench.submit()
        bench.gate.halt(NO_CREDITS)
        assert await asyncio.wait_for(bench.status(job), 1.0)
        assert bench.gate.halted

    at_the_gate(test)


def test_polls_wait_while_the_key_is_refused_and_go_on_once_it_heals() -> None:
    async def test(bench: Bench) -> None:
        job = await bench.submit()
        bench.gate.halt(REFUSED_KEY)
        bench.api.down = lambda: Refused(401, "bad key", is_json=True)
        poll = asyncio.create_task(bench.status(job))
        await bench.clock.sleep(60.0)
        assert not poll.done()
        bench.api.down = None
        await asyncio.wait_for(poll, 301.0)

    at_the_gate(test)


def test_equal_refusals_of_different_events_halt_and_none_of_them_is_rejected() -> None:
    async def test(bench: Bench) -> None:
        bench.api.refuse = lambda request: Refused(400, "bad dimension 7", is_json=True)
        results = [asyncio.create_task(bench.submit(f"{n}")) for n in range(40)]
        await bench.clock.sleep(60.0)
        assert not [task for task in results if task.done()]
        assert bench.gate.halted
        assert "refusals" in bench.gate.halted
        asked = bench.api.calls["submit"]
        await bench.clock.sleep(3600.0)
        assert bench.api.calls["submit"] <= asked + 20
        bench.api.refuse = lambda request: None
        await bench.clock.sleep(301.0)
        assert bench.gate.halted is None
        await asyncio.gather(*results)
        assert bench.api.posts.total() == 40

    at_the_gate(test)


def test_a_bad_event_among_good_ones_is_rejected_with_the_next_success_and_asked_of_once() -> None:
    async def test(bench: Bench) -> None:
        bench.api.refuse = lambda request: Refused(400, "bad", is_json=True) if request.text == "bad" else None
        bad = asyncio.create_task(bench.submit("bad"))
        await bench.clock.sleep(1.0)
        assert not bad.done()
        await bench.submit("good")
        with pytest.raises(CallFailedError) as raised:
            await bad
        assert isinstance(raised.value.verdict, Reject)
        assert bench.api.calls == {"submit": 2}

    at_the_gate(test)


def test_an_event_that_is_refused_alone_is_rejected_after_a_while_and_does_not_halt() -> None:
    async def test(bench: Bench) -> None:
        bench.api.refuse = lambda request: Refused(400, "bad", is_json=True)
        for _ in range(30):
            with pytest.raises(CallFailedError) as raised:
                await bench.submit("one")
            assert isinstance(raised.value.verdict, Reject)
        assert bench.gate.halted is None

    at_the_gate(test)


def test_an_outage_halts_submits_costs_no_attempt_and_the_free_credits_call_finds_its_end() -> None:
    async def test(bench: Bench) -> None:
        bench.api.down = lambda: Unanswered("connection refused", sent=False)
        for n in range(RUN):
            with pytest.raises(CallFailedError) as raised:
                await bench.submit(f"{n}")
            assert isinstance(raised.value.verdict, Retry)
            assert raised.value.verdict.excused
            assert not raised.value.verdict.counted
            await bench.clock.sleep(0.5)
        assert bench.gate.halted
        assert "outage" in bench.gate.halted
        asked = bench.api.calls["submit"]
        waiting = asyncio.create_task(bench.submit("late"))
        await bench.clock.sleep(600.0)
        assert bench.api.calls["submit"] == asked
        assert bench.api.calls["credits"] > 3
        bench.api.down = None
        await asyncio.wait_for(waiting, 301.0)
        assert bench.gate.halted is None

    at_the_gate(test)


def test_polls_go_on_while_only_submits_fail_and_a_poll_that_fails_too_stops_them() -> None:
    async def test(bench: Bench) -> None:
        jobs = [await bench.submit(f"{n}") for n in range(3)]
        bench.api.refuse = lambda request: Refused(500, "inference is down", is_json=True)
        for n in range(RUN):
            with pytest.raises(CallFailedError):
                await bench.submit(f"later {n}")
            await bench.clock.sleep(0.5)
        assert bench.gate.halted
        await asyncio.wait_for(bench.status(jobs[0]), 1.0)
        assert "submits failed (HTTP 500: inference is down)" in bench.gate.halted
        bench.api.down = lambda: Refused(502, "bad gateway", is_json=False)
        for n in range(RUN):
            with pytest.raises(CallFailedError):
                await bench.status(jobs[n % 3])
            await bench.clock.sleep(0.5)
        assert "polls failed (HTTP 502: bad gateway)" in bench.gate.halted
        poll = asyncio.create_task(bench.status(jobs[1]))
        await bench.clock.sleep(600.0)
        assert not poll.done()
        bench.api.down = None
        await asyncio.wait_for(poll, 301.0)
        assert bench.gate.halted
        assert "submits failed" in bench.gate.halted
        bench.api.refuse = lambda request: None
        await asyncio.wait_for(bench.submit("at last"), 301.0)
        assert bench.gate.halted is None

    at_the_gate(test)


def test_an_outage_met_by_polls_waits_a_minute_for_a_poll_before_it_tries_a_submit_that_is_paid() -> None:
    async def test(bench: Bench) -> None:
        jobs = [await bench.submit(f"{n}") for n in range(2)]
        bench.api.polls_down = lambda: Refused(500, "oops", is_json=True)
        for n in range(RUN):
            with pytest.raises(CallFailedError):
                await bench.status(jobs[n % 2])
            await bench.clock.sleep(0.5)
        assert bench.gate.halted
        submit = asyncio.create_task(bench.submit("new"))
        await bench.clock.sleep(60.0)
        assert not submit.done()
        await asyncio.wait_for(submit, 10.0)
        assert bench.gate.halted, "only a poll shows that polls are answered"
        bench.api.polls_down = None
        await asyncio.wait_for(bench.status(jobs[0]), 301.0)
        assert bench.gate.halted is None

    at_the_gate(test)


def test_half_open_lets_one_call_in_at_a_time() -> None:
    async def test(bench: Bench) -> None:
        bench.api.refuse = lambda request: Refused(500, "inference is down", is_json=True)
        for n in range(RUN):
            with pytest.raises(CallFailedError):
                await bench.submit(f"{n}")
            await bench.clock.sleep(0.5)
        waiting = [asyncio.create_task(bench.submit(f"more {n}")) for n in range(50)]
        asked = bench.api.calls.copy()
        await bench.clock.sleep(3600.0)
        probes = bench.api.calls - asked
        assert 5 <= probes["submit"] <= 20
        assert probes["credits"] <= probes["submit"] + 1
        bench.api.refuse = lambda request: None
        await bench.clock.sleep(301.0)
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(answer, CallFailedError) for answer in done) == probes["submit"]

    at_the_gate(test)


def test_an_event_that_fails_alone_for_an_hour_is_blamed_where_the_credits_call_answers() -> None:
    async def test(bench: Bench) -> None:
        bench.api.refuse = lambda request: Refused(500, "this one breaks it", is_json=True)
        with pytest.raises(CallFailedError) as raised:
            await bench.submit("one")
        assert isinstance(raised.value.verdict, Retry)
        assert not raised.value.verdict.counted, "it may be the first that meets an outage"
        await bench.clock.sleep(LONELY)
        with pytest.raises(CallFailedError) as raised:
            await bench.submit("one")
        assert isinstance(raised.value.verdict, Retry)
        assert raised.value.verdict.counted
        bench.api.down = lambda: Unanswered("timeout", sent=True)
        await bench.clock.sleep(60.0)
        with pytest.raises(CallFailedError) as raised:
            await bench.submit("one")
        assert isinstance(raised.value.verdict, Retry)
        assert not raised.value.verdict.counted

    at_the_gate(test)


def test_where_outages_count_nothing_halts_for_them_and_every_failure_uses_up_an_attempt() -> None:
    async def test(bench: Bench) -> None:
        for error in (
            Refused(502, "", is_json=False),
            Unanswered("refused", sent=False),
            Refused(500, "", is_json=True),
        ):
            bench.api.down = lambda error=error: error
            for n in range(30):
                with pytest.raises(CallFailedError) as raised:
                    await bench.submit(f"{n}")
                assert isinstance(raised.value.verdict, Retry)
                assert raised.value.verdict.counted
        assert bench.gate.halted is None
        assert bench.api.calls["credits"] == 0

    at_the_gate(test, counts_outages=True)


def test_a_probe_that_is_cancelled_does_not_keep_the_gate_shut() -> None:
    async def test(bench: Bench) -> None:
        bench.gate.halt(NO_CREDITS)
        first = asyncio.create_task(bench.submit("first"))
        await bench.clock.sleep(5.005)  # the probe is under way
        first.cancel()
        await bench.clock.sleep(0.1)
        await asyncio.wait_for(bench.submit("second"), 60.0)
        assert bench.gate.halted is None

    at_the_gate(test)


def test_a_cause_that_heals_by_time_lets_no_event_in_before_and_needs_no_call() -> None:
    async def test(bench: Bench) -> None:
        bench.gate.halt(Cause("spend", "spend: wait", healed_by=HealedBy.TIME, until=EPOCH + 50.0))
        waiting = asyncio.create_task(bench.submit())
        await bench.clock.sleep(49.0)
        assert bench.api.calls.total() == 0
        assert bench.gate.halted == "spend: wait"
        await asyncio.wait_for(waiting, 2.0)
        assert bench.gate.halted is None
        assert bench.api.calls == {"submit": 1}

    at_the_gate(test)


def test_a_cause_that_heals_elsewhere_outlasts_the_outage_beside_it() -> None:
    async def test(bench: Bench) -> None:
        bench.gate.halt(Cause("budget", "budget: look", healed_by=HealedBy.ELSEWHERE))
        bench.gate.halt(REFUSED_KEY)
        waiting = asyncio.create_task(bench.submit())
        await bench.clock.sleep(600.0)
        assert [standing.cause.key for standing in bench.gate.standing] == ["budget"]
        assert bench.api.calls == {"credits": 1}
        bench.gate.heal("budget")
        await asyncio.wait_for(waiting, 1.0)
        assert len(bench.observer.of(Halted)) == len(bench.observer.of(Healed)) == 2

    at_the_gate(test)


def test_a_cause_that_the_credits_call_heals_alone_needs_no_event() -> None:
    async def test(bench: Bench) -> None:
        bench.gate.halt(Cause("account", "account: top up", healed_by=HealedBy.CREDITS, asks=Asks.BALANCE))
        waiting = asyncio.create_task(bench.submit())
        await bench.clock.sleep(4.9)
        assert bench.api.calls.total() == 0
        await asyncio.wait_for(waiting, 1.0)
        assert bench.api.calls == {"credits": 1, "submit": 1}

    at_the_gate(test)


def test_no_more_calls_are_under_way_than_there_are_connections_and_polls_have_half_of_them() -> None:
    async def test(bench: Bench) -> None:
        under_way: Counter[Call] = Counter()
        most: Counter[Call] = Counter()

        async def call(kind: Call, event: int) -> None:
            async def request() -> None:
                under_way[kind] += 1
                most[kind] = max(most[kind], under_way[kind])
                await bench.clock.sleep(1.0)
                under_way[kind] -= 1

            await bench.gate.call(kind, request, event=event)

        submits = [asyncio.create_task(call(Call.SUBMIT, n)) for n in range(100)]
        await bench.clock.sleep(0.1)
        polls = [asyncio.create_task(call(Call.STATUS, n)) for n in range(40)]
        await bench.clock.sleep(1.0)
        assert most == {Call.SUBMIT: 32, Call.STATUS: 32}
        submits[-1].cancel()
        await asyncio.gather(*submits[:-1], *polls)
        assert most == {Call.SUBMIT: 32, Call.STATUS: 32}
        assert not under_way.total()

    at_the_gate(test)
