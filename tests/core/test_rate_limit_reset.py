import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.rate_limit_reset import reset_at

DATE = "Mon, 23 Nov 2026 10:00:00 GMT"
SERVER = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("header", "ahead"),
    [
        (f"{SERVER + 30:.0f}", 30.0),
        (f"{SERVER + 30:.0f}.", 30.0),
        (f"{SERVER + 30.25:.2f}", 30.25),
        (f"{(SERVER + 30.25) * 1000:.0f}", 30.25),
        (f"{(SERVER + 30.25) * 1000:.0f}.5", 30.25),
        ("2026-11-23T10:00:30", 30.0),
        ("2026-11-23 10:00:30", 30.0),
        ("2026-11-23 10:00:30 UTC", 30.0),
        ("2026-11-23T10:00:30Z", 30.0),
        ("2026-11-23T10:00:30.250000Z", 30.25),
        ("2026-11-23T12:00:30+02:00", 30.0),
        (" Mon, 23 Nov 2026 10:00:30 GMT ", 30.0),
        ("Monday, 23-Nov-26 10:00:30 GMT", 30.0),
        ("Mon Nov 23 10:00:30 2026", 30.0),
        ("2026-11-23T09:59:00Z", -60.0),
    ],
)
def test_every_form_of_the_header_is_read(header: str, ahead: float) -> None:
    opens = reset_at(header, DATE, SERVER)
    assert opens is not None
    assert opens - SERVER == pytest.approx(ahead, abs=0.002)


@pytest.mark.parametrize("wrong_by", [-86_400.0, 0.0, 7_200.0])
def test_a_wrong_local_clock_does_no_harm(wrong_by: float) -> None:
    local = SERVER + wrong_by
    assert reset_at(f"{SERVER + 20:.0f}", DATE, local) == local + 20


@pytest.mark.parametrize("header", ["2026-11-23T10:00:30", "Mon, 23 Nov 2026 10:00:30 -0000"])
def test_a_time_without_a_zone_is_utc_wherever_the_worker_runs(
    header: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(time.tzset)
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "XYZ-9")
        time.tzset()
        assert reset_at(header, DATE, SERVER) == SERVER + 30


@pytest.mark.parametrize("date", [None, "", "yesterday", "x" * 1000])
def test_without_a_readable_date_the_local_clock_is_taken(date: str | None) -> None:
    assert reset_at(f"{SERVER + 20:.0f}", date, SERVER + 5) == SERVER + 20


@pytest.mark.parametrize("header", ["9999999999", "2099-01-01T00:00:00Z", f"{SERVER + 301:.0f}"])
def test_a_reset_far_ahead_is_cut_to_five_minutes(header: str) -> None:
    assert reset_at(header, DATE, SERVER) == SERVER + 300


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "soon",
        "30",
        "-1",
        "nan",
        "inf",
        "1e9",
        "99999999999",
        "12345678901234567890",
        "2026-13-01T00:00:00Z",
        "20261123",
        "Mon, 99 Nov 2026 10:00:00 GMT",
        "1" * 10_000,
        "(" * 5000,
        "١٧٠٠٠٠٠٠٠٠",
        "\x00",
        "\ud800",
    ],
)
def test_garbage_is_no_time(header: str) -> None:
    assert reset_at(header, DATE, SERVER) is None


@example("0001-01-01T00:00:00+23:59", None)
@example("9999-12-31T23:59:59-23:59", None)
@example("Mon, 01 Jan 0001 00:00:00 +9999", "Mon, 31 Dec 9999 23:59:59 -9999")
@given(
    st.text(max_size=80)
    | st.from_regex(r"[0-9+\-:TZ., A-Za-z]{0,60}", fullmatch=True)
    | st.datetimes().map(datetime.isoformat)
    | st.datetimes(timezones=st.just(UTC)).map(format_datetime),
    st.none() | st.text(max_size=80) | st.datetimes(timezones=st.just(UTC)).map(format_datetime),
)
def test_nothing_raises_and_nothing_is_more_than_five_minutes_ahead(header: str, date: str | None) -> None:
    opens = reset_at(header, date, SERVER)
    assert opens is None or opens <= SERVER + 300
