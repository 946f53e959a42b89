from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from prefroute.serve.upstream.failures import Failure, FailureCode, fault_of
from prefroute.serve.upstream.health import Health, RetryBudget


def failure(code="upstream_unreachable", **more):
    return Failure("m", code, "cannot be reached.", **more)


def opened(at=100.0) -> Health:
    health = Health()
    for _ in range(5):
        health.failed(health.began(), failure(), at)
    return health


def test_four_failures_leave_the_circuit_closed():
    health = Health()
    for i in range(4):
        health.failed(health.began(), failure(), 100.0 + i)

    assert health.reason_to_wait(104.0) is None


def test_five_failures_that_lie_further_apart_than_ten_seconds_leave_it_closed():
    health = Health()
    for i in range(5):
        health.failed(health.began(), failure(), 100.0 + 3 * i)

    assert health.reason_to_wait(112.0) is None


def test_every_second_attempt_failing_opens_it_at_the_fifth_failure():
    health = Health()
    for i in range(5):
        assert health.reason_to_wait(100.0 + i) is None
        health.failed(health.began(), failure(), 100.0 + i)
        health.succeeded(health.began(), 100.0 + i)
    health = Health()
    for i in range(9):
        (health.succeeded(health.began(), 100.0 + i) if i % 2 else health.failed(health.began(), failure(), 100.0 + i))

    assert health.reason_to_wait(108.5) is not None


def test_a_busy_upstream_that_fails_now_and_then_stays_closed():
    health = Health()
    for i in range(1000):
        (
            health.failed(health.began(), failure(), 100.0 + i / 200)
            if i % 10 == 0
            else health.succeeded(health.began(), 100.0 + i / 200)
        )

    assert health.reason_to_wait(105.0) is None


def test_one_probe_at_a_time_is_let_through():
    health = opened()

    assert health.reason_to_wait(100.9) is not None
    assert health.reason_to_wait(101.0) is None
    probe = health.began()
    assert health.reason_to_wait(101.0) is not None
    health.succeeded(probe, 101.2)
    assert health.reason_to_wait(101.2) is None


def test_a_probe_whose_client_left_makes_room_for_another():
    health = opened()
    probe = health.began()
    assert health.reason_to_wait(101.0) is not None

    health.abandoned(probe)

    assert health.reason_to_wait(101.0) is None


@pytest.mark.parametrize("ending", ["abandoned", "failed", "succeeded"])
def test_what_began_before_the_circuit_opened_is_not_taken_for_the_probe(ending):
    health = Health()
    early = health.began()
    for _ in range(5):
        health.failed(health.began(), failure(), 100.0)
    probe = health.began()

    if ending == "abandoned":
        health.abandoned(early)
    elif ending == "failed":
        health.failed(early, failure(), 101.0)
    else:
        health.succeeded(early, 101.0)

    assert health.reason_to_wait(101.0) is not None  # one probe is under way still
    health.failed(probe, failure(), 101.0)
    assert health.wait_s(101.0) == 2.0  # doubled once


def test_a_stream_that_breaks_after_its_probe_succeeded_is_one_failure_of_five():
    health = opened()
    probe = health.began()
    health.succeeded(probe, 101.0)

    health.failed(probe, failure(), 102.0)

    assert health.reason_to_wait(102.0) is None


def test_each_failed_probe_doubles_the_pause_up_to_thirty_seconds():
    health, now = opened(), 100.0
    pauses = []

    for _ in range(8):
        pauses.append(health.wait_s(now))
        now += pauses[-1]
        assert health.reason_to_wait(now) is None
        health.failed(health.began(), failure(), now)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_recovered_model_starts_again_with_a_short_pause():
    health = opened()
    health.failed(health.began(), failure(), 101.0)
    health.succeeded(health.began(), 103.0)

    for _ in range(5):
        health.failed(health.began(), failure(), 104.0)

    assert health.wait_s(104.0) == 1.0


def test_rate_limits_cool_a_model_down_without_opening_its_circuit():
    health = Health()
    for _ in range(50):
        health.failed(health.began(), failure("upstream_rate_limited"), 100.0)
    assert health.reason_to_wait(100.0) is None

    limited = failure("upstream_rate_limited", retry_after_s=7.0)
    health.failed(health.began(), limited, 100.0)

    assert health.reason_to_wait(106.9) == "upstream_rate_limited"
    assert health.reason_to_wait(107.0) is None


def test_a_fifth_of_the_requests_may_be_repeated():
    budget = RetryBudget()
    for i in range(100):
        budget.count(100.0 + i / 100)

    assert [budget.spend(101.0) for _ in range(30)] == [True] * 20 + [False] * 10
    assert budget.spend(115.0)  # the window has moved on


def test_a_quiet_gateway_may_repeat_three():
    budget = RetryBudget()
    budget.count(100.0)

    assert [budget.spend(100.0) for _ in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("codes", "status", "code"),
    [
        (["upstream_timeout"], 504, "upstream_timeout"),
        (["upstream_auth_failed", "upstream_timeout"], 502, "upstream_auth_failed"),
        (["upstream_rate_limited", "upstream_unreachable"], 502, "upstream_unreachable"),
        (["upstream_rate_limited", "upstream_rate_limited"], 429, "upstream_rate_limited"),
    ],
)
def test_the_client_hears_of_the_first_failure_that_is_no_rate_limit(codes, status, code):
    fault = fault_of([failure(code) for code in codes])

    assert (fault.status, fault.code) == (status, code)


def test_the_shortest_wait_of_all_rate_limited_models_is_passed_on():
    limited = [failure("upstream_rate_limited", retry_after_s=wait) for wait in (60.0, None, 6.5)]

    assert fault_of(limited).headers == {"retry-after": "7"}


@pytest.mark.parametrize("code", ["upstream_timeout", "upstream_unreachable"])
def test_clients_are_told_not_to_repeat_what_the_gateway_has_repeated(code):
    assert fault_of([failure(code)]).headers == {"x-should-retry": "false"}


def test_every_code_is_in_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "upstream-failures.md").read_text("utf-8")

    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(get_args(FailureCode))
