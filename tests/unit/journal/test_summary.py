"""The report: sums that can be checked by hand, the same on both databases."""

from typing import Any

import pytest

from prefroute.journal import AttemptRow, FeedbackRow, RequestRow, Storing
from prefroute.journal.feedback import add_feedback
from prefroute.journal.statements import write_rows
from prefroute.journal.summary import Latency, RoutePair, summarise
from prefroute.prices import Price

PRICES = {"big": Price(10.0, 30.0, "2026-01", "test"), "small": Price(1.0, 2.0, "2026-01", "test")}


def a_row(i, model, **fields):
    values: dict[str, Any] = {"started_at": float(i), "endpoint": "chat", "status": 200} | fields
    return RequestRow(f"r{i}", model=model, **values)


@pytest.fixture
def filled(engine):
    """Ten requests of the route `auto`, three to `big` (1,000 tokens in, 100 out), and others beside it."""
    routed = {"route": "auto", "tokens_in": 1000, "tokens_out": 100, "scoring_s": 0.36}
    rows = [a_row(i, "big", cost_usd=0.013, latency_s=0.1 * (i + 1), **routed) for i in range(3)]
    rows += [a_row(i, "small", cost_usd=0.0012, latency_s=0.1 * (i + 1), **routed) for i in range(3, 9)]
    tries = [AttemptRow("small", "upstream_timeout", None, 5.0), AttemptRow("big", "upstream_timeout", None, 5.0)]
    rows.append(a_row(9, "big", route="auto", scoring_s=0.36, attempts=tries))
    rows[-1].status, rows[-1].error, rows[-1].latency_s = 504, "upstream_timeout", 10.0
    rows.append(a_row(10, "small", tokens_in=5, is_stream=True, latency_s=2.0, first_token_s=0.25))
    rows.append(a_row(11, None, endpoint="route", route="auto", scoring_s=1e6))
    with engine.begin() as connection:
        begun = [a_row(12, None, status=None, route="auto")]
        write_rows(connection, rows, begun, instance="i", storing=Storing())
        for i, score in ((0, 1.0), (1, 0.5), (3, 0.25), (4, 0.75), (5, 0.5)):
            add_feedback(connection, FeedbackRow(f"r{i}", None, 0.0, score=score))
        for i, preferred in ((2, "small"), (6, "small")):
            add_feedback(connection, FeedbackRow(f"r{i}", None, 0.0, preferred=preferred))
    return engine


def test_traffic_is_counted_by_route_and_model(filled):
    found = summarise(filled)

    shares = {(share.route, share.model): (share.n, share.n_errors, share.tokens_in) for share in found.shares}
    assert shares == {
        ("auto", "small"): (6, 0, 6000),
        ("auto", "big"): (4, 1, 3000),
        ("auto", None): (1, 0, 0),
        (None, "small"): (1, 0, 5),
    }
    assert next((share.route, share.model) for share in found.shares) == ("auto", "small")
    assert next(share.share for share in found.shares if share.model == "big") == 4 / 11
    assert (found.n, found.n_running, found.first_at, found.last_at) == (12, 1, 0.0, 12.0)


def test_costs_are_compared_over_the_tokens_that_were_read_and_written(filled):
    found = summarise(filled, pairs={"auto": RoutePair("big", "small")}, prices=PRICES, machine_usd_per_hour=1.0)

    (cost,) = found.costs
    # 3 answers of 0.013 and 6 of 0.0012; 9,000 tokens in and 900 out at 10 and 30, or at 1 and 2, USD per million
    strong_usd, router_usd = 0.117, 10 * 0.36 / 3600
    assert (cost.route, cost.n) == ("auto", 9)
    assert cost.cost_usd == pytest.approx(0.0462)
    assert cost.router_usd == pytest.approx(router_usd)
    assert cost.always_strong_usd == pytest.approx(strong_usd)
    assert cost.always_weak_usd == pytest.approx(0.0108)
    assert cost.saved_usd == pytest.approx(strong_usd - 0.0462 - router_usd)
    assert cost.saved_share == pytest.approx((strong_usd - 0.0462 - router_usd) / strong_usd)


def test_the_comparison_takes_as_many_tokens_from_each_models_cache(engine):
    cached = {
        "big": Price(10.0, 30.0, "2026-01", "test", cached_share=0.5),
        "small": Price(1.0, 2.0, "2026-01", "test", cached_share=0.1),
    }
    tokens = {"tokens_in": 1000, "tokens_cached": 800, "tokens_out": 100}
    usd = cached["small"].request_usd(1000, 100, 800)
    rows = [a_row(i, "small", route="auto", cost_usd=usd, **tokens) for i in range(2)]
    with engine.begin() as connection:
        write_rows(connection, rows, [], instance="i", storing=Storing())

    found = summarise(engine, pairs={"auto": RoutePair("big", "small")}, prices=cached)

    (share,), (cost,) = found.shares, found.costs
    assert (share.tokens_in, share.tokens_cached) == (2000, 1600)
    assert cost.cost_usd == pytest.approx(2 * (200 * 1 + 800 * 0.1 + 100 * 2) / 1e6)
    assert cost.always_weak_usd == pytest.approx(cost.cost_usd)  # it was always the weak one
    assert cost.always_strong_usd == pytest.approx(2 * (200 * 10 + 800 * 5 + 100 * 30) / 1e6)


def test_what_rests_on_estimates_and_what_fallbacks_answered_is_counted(engine):
    rows = [
        a_row(0, "big", cost_usd=0.5, usage_source="estimate", reason="policy"),
        a_row(1, "big", cost_usd=0.25, usage_source="upstream", reason="fallback"),
        a_row(2, "big", usage_source="estimate", reason="fallback"),  # a model without a price
        a_row(3, "small", cost_usd=1.0, usage_source="upstream", reason="policy"),
    ]
    with engine.begin() as connection:
        write_rows(connection, rows, [], instance="i", storing=Storing())

    big, small = summarise(engine).shares

    assert (big.n_estimated, big.estimated_usd, big.n_fallback) == (2, 0.5, 2)
    assert (small.n_estimated, small.estimated_usd, small.n_fallback) == (0, 0.0, 0)


def test_without_prices_nothing_is_compared(filled):
    (cost,) = summarise(filled, pairs={"auto": RoutePair("big", "small")}).costs

    assert (cost.always_strong_usd, cost.always_weak_usd, cost.saved_usd, cost.saved_share) == (None,) * 4
    assert summarise(filled).costs == []


def test_percentiles_are_those_of_answered_requests(filled):
    found = summarise(filled)

    assert found.latency.p50_s == pytest.approx(0.5, abs=0.001)  # 0.1 to 0.9 and 2.0; the 504 is out
    assert (found.latency.n, found.latency.p95_s, found.latency.p99_s) == (10, 2.0, 2.0)
    assert found.first_token == Latency(1, 0.25, 0.25, 0.25)


def test_errors_and_attempts_are_counted(filled):
    found = summarise(filled)

    assert found.errors == {"upstream_timeout": 1}
    assert found.attempts == {("big", "upstream_timeout"): 1, ("small", "upstream_timeout"): 1}


def test_feedback_has_means_with_intervals(filled):
    big, small = summarise(filled).feedback

    # scores 1 and 0.5: mean 0.75, sample standard deviation 0.35355, plus and minus 1.96 * 0.35355 / sqrt(2)
    assert (big.model, big.n, big.mean, big.n_preferred) == ("big", 2, 0.75, 0)
    assert big.low == pytest.approx(0.75 - 0.49, abs=1e-3)
    assert big.high == 1.0  # cut to what a mean can be
    assert (small.model, small.n, small.mean, small.n_preferred) == ("small", 3, 0.5, 2)


def test_one_score_has_no_interval(engine):
    with engine.begin() as connection:
        write_rows(connection, [a_row(0, "big")], [], instance="i", storing=Storing())
        add_feedback(connection, FeedbackRow("r0", None, 0.0, score=1.0))

    (mean,) = summarise(engine).feedback

    assert (mean.mean, mean.low, mean.high) == (1.0, None, None)


def test_only_what_is_recent_is_read(filled):
    found = summarise(filled, since=9.5)

    assert found.n == 2
    assert found.feedback == []


def test_an_empty_journal_has_an_empty_summary(engine):
    found = summarise(engine, pairs={"auto": RoutePair("big", "small")}, prices=PRICES)

    assert (found.n, found.first_at, list(found.shares), list(found.costs)) == (0, None, [], [])
    assert found.latency == Latency(0, None, None, None)


def test_a_summary_is_json(filled):
    import json

    made = json.loads(json.dumps(summarise(filled).to_json(), allow_nan=False))

    assert made["attempts"][0] == {"model": "big", "outcome": "upstream_timeout", "n": 1}
    assert made["shares"][0]["model"] == "small"
