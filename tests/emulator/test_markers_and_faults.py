"""What texts ask for, and what goes wrong by chance."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.emulator.caller import Caller, body_of
from worker.emulator.shapes import SHAPES


def test_blocked_texts_fail_with_rotating_policy_texts() -> None:
    caller = Caller()
    errors = [body_of(caller.outcome("[[block]] something"))["error"] for _ in range(6)]
    assert len(set(errors)) == 3
    assert errors[:3] == errors[3:]
    assert all("block" in text or "prohibited" in text for text in errors)


@pytest.mark.parametrize(("marker", "failures"), [("[[flaky]]", 1), ("[[flaky:3]]", 3)])
def test_a_flaky_text_fails_the_first_times_only(marker: str, failures: int) -> None:
    caller = Caller()
    answers = [caller.outcome(f"{marker} text").status for _ in range(failures + 2)]
    assert answers == [422] * failures + [200, 200]
    assert caller.outcome(f"{marker} another text").status == 422


def test_a_slow_text_takes_its_seconds() -> None:
    caller = Caller()
    request_id = caller.submit("[[slow:30.5]] text")
    caller.clock.now += 30.4
    assert body_of(caller.status(request_id))["status"] == "PROCESSING"
    caller.clock.now += 0.1
    assert body_of(caller.status(request_id))["status"] == "COMPLETED"


def test_a_hanging_text_never_ends_and_is_never_billed() -> None:
    caller = Caller()
    request_id = caller.submit("[[hang]]")
    caller.clock.now += 3000.0
    assert body_of(caller.status(request_id))["status"] == "PROCESSING"
    assert (caller.stats()["in_flight"], caller.stats()["jobs"]["PROCESSING"]) == (1, 1)
    caller.clock.now += 600.0
    assert caller.status(request_id).status == 404
    assert (caller.stats()["in_flight"], caller.stats()["bills"]) == (0, 0)


def test_a_rejected_text_is_a_400_and_no_job() -> None:
    caller = Caller()
    assert caller.post({"input": "[[reject]]"}).status == 400
    assert caller.stats()["submits_accepted"] == 0


def test_bad_vectors_are_of_the_wrong_length_or_hold_a_string() -> None:
    caller = Caller()
    assert len(body_of(caller.outcome("[[badvector:length]]"))["output"]) == 3071
    assert body_of(caller.outcome("[[badvector]]"))["output"][-1] == "NaN"


SHAPE_READERS: dict[str, Callable[[Any], list[float]]] = {
    "flat": lambda output: output,
    "nested": lambda output: output[0],
    "embedding": lambda output: output["embedding"],
    "embedding_values": lambda output: output["embedding"]["values"],
    "values": lambda output: output["values"],
    "embeddings": lambda output: output["embeddings"][0],
    "embeddings_values": lambda output: output["embeddings"][0]["values"],
    "data": lambda output: output["data"][0]["embedding"],
    "predictions": lambda output: output["predictions"][0]["embeddings"]["values"],
    "string": orjson.loads,
    "string_embedding_values": lambda output: orjson.loads(output)["embedding"]["values"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_the_contract_holds_the_vector(shape: str) -> None:
    by_marker = body_of(Caller().outcome(f"[[shape:{shape}]] hello"))["output"]
    by_config = body_of(Caller(output_shape=shape).outcome("hello"))["output"]
    for output in (by_marker, by_config):
        vector = SHAPE_READERS[shape](output)
        assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-6)


@pytest.mark.parametrize("text", ["[[shape:star]]", "[[slow:soon]]", "[[flaky:x]]", "[[nothing]]", "[[", "[[slow]]"])
def test_what_only_looks_like_a_marker_is_plain_text(text: str) -> None:
    assert Caller().outcome(text).status == 200


def test_markers_can_be_switched_off() -> None:
    assert Caller(markers=False).outcome("[[fail]] [[reject]]").status == 200


def test_vendor_errors_come_as_json_or_pages_and_nothing_is_accepted() -> None:
    caller = Caller(error_rate=1.0)
    replies = [caller.post({"input": "x"}) for _ in range(100)]
    types = {reply.status: reply.content_type for reply in replies}
    assert types == {500: "application/json", 502: "text/html", 504: "text/html"}
    stats = caller.stats()
    assert (stats["submits_accepted"], stats["faults"]) == (0, {"POST error": 100})


def test_a_reset_before_takes_no_effect_and_a_reset_after_does() -> None:
    before, after = Caller(reset_before=1.0), Caller(reset_after=1.0)
    assert before.post({"input": "x"}).reset
    assert after.post({"input": "x"}).reset
    for caller in (before, after):
        caller.clock.now += 1.0
    assert (before.stats()["submits_accepted"], after.stats()["submits_accepted"]) == (0, 1)
    assert (before.stats()["bills"], after.stats()["bills"]) == (0, 1)
    assert after.stats()["requests_by_route"] == {"submit": {"reset": 1}}


def test_a_slow_answer_is_held_back_after_it_took_effect() -> None:
    caller = Caller(slow_rate=1.0, slow_seconds=7.0)
    assert caller.post({"input": "x"}).delay == 7.0
    assert caller.stats()["submits_accepted"] == 1


def test_gets_have_their_own_faults() -> None:
    caller = Caller(get_error_rate=1.0, error_statuses=(502,))
    request_id = caller.submit("x")
    assert caller.status(request_id).status == 502
    caller.emulator.reconfigure(get_error_rate=0.0, get_slow_rate=1.0)
    assert caller.status(request_id).delay == 5.0
    assert caller.stats()["faults"] == {"GET error": 1, "GET slow": 1}


def test_faults_come_at_their_rates_and_repeat_with_the_seed() -> None:
    def run(seed: int) -> list[tuple[int, bool]]:
        caller = Caller(error_rate=0.1, reset_before=0.1, reset_after=0.1, slow_rate=0.1, seed=seed)
        return [(reply.status, reply.reset) for reply in (caller.post({"input": "x"}) for _ in range(2000))]

    first = run(3)
    assert first == run(3) != run(4)
    counts = Counter(reset for _, reset in first)
    assert 0.13 < counts[True] / 2000 < 0.23
