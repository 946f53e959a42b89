"""The price table: figures, sources, the user's prices before it."""

import pytest

from prefroute.errors import ConfigError
from prefroute.prices import PRICES, Price, price_note, request_price_usd


def test_the_papers_pair_has_the_papers_cost():
    # $24.7 per million tokens of 95 in + 264 out, and $0.24 (PAPER.md)
    assert PRICES["gpt-4-1106-preview"].request_usd() / 359 * 1e6 == pytest.approx(24.7, abs=0.05)
    assert PRICES["mixtral-8x7b-instruct-v0.1"].request_usd() / 359 * 1e6 == pytest.approx(0.24)


def test_every_price_is_dated_and_has_a_source():
    assert all(price.as_of and price.source for price in PRICES.values())


def test_the_users_price_comes_before_the_table():
    assert request_price_usd("gpt-4-1106-preview", {"gpt-4-1106-preview": 0.5}) == 0.5


def test_a_free_model_is_free_not_unpriced():
    assert request_price_usd("local", {"local": 0.0}) == 0.0


def test_an_unknown_model_has_no_price():
    assert request_price_usd("local") is None


@pytest.mark.parametrize("usd", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(usd):
    with pytest.raises(ConfigError, match="The price of 'local' must be a number >= 0"):
        request_price_usd("local", {"local": usd})
    with pytest.raises(ConfigError, match="`usd_per_mtok_out` must be a number >= 0"):
        Price(1.0, usd, "2026-01", "a test")


def test_a_note_names_tokens_date_and_source():
    assert price_note("mixtral-8x7b-instruct-v0.1") == (
        "mixtral-8x7b-instruct-v0.1 8.616e-05 USD a request (95 tokens in, 264 out; prices of 2024-06, "
        "Ong et al. 2024, arXiv:2406.18665, cost analysis)"
    )


def test_a_note_says_that_no_price_is_known():
    assert price_note("local") == "local has no known price"
