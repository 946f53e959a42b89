"""What a request costs where the data does not say: a dated price table with its sources, and stated token counts.

Real token counts and costs come first, where the data has them. The table is small on purpose: prices go out of date,
so a user's own prices replace it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prefroute.errors import ConfigError

__all__ = ["MEAN_TOKENS_IN", "MEAN_TOKENS_OUT", "PRICES", "Price", "price_note", "request_price_usd"]

MEAN_TOKENS_IN = 95
MEAN_TOKENS_OUT = 264
"""Mean tokens of a request and of its answer, stated by Ong et al. 2024, arXiv:2406.18665, in its cost analysis."""


@dataclass(frozen=True, slots=True)
class Price:
    """Price of one model.

    Attributes:
        usd_per_mtok_in: US dollars per million tokens read, >= 0.
        usd_per_mtok_out: US dollars per million tokens written, >= 0.
        as_of: When this was the price, year and month.
        source: Where it was read.
        cached_share: Price of a token that was read from a prompt cache, as a share of `usd_per_mtok_in`, in [0, 1].

    Raises:
        ConfigError: If a price is negative, infinite or NaN, or the share outside [0, 1].
    """

    usd_per_mtok_in: float
    usd_per_mtok_out: float
    as_of: str
    source: str
    cached_share: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers once; see Raises."""
        for name in ("usd_per_mtok_in", "usd_per_mtok_out"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"`{name}` must be a number >= 0, got {getattr(self, name)!r}.")
        if not 0 <= self.cached_share <= 1:
            raise ConfigError(f"`cached_share` must be in [0, 1], got {self.cached_share!r}.")

    def request_usd(
        self, tokens_in: float = MEAN_TOKENS_IN, tokens_out: float = MEAN_TOKENS_OUT, tokens_cached: float = 0
    ) -> float:
        """Cost of one request, US dollars.

        Args:
            tokens_in: Tokens read.
            tokens_out: Tokens written.
            tokens_cached: Of `tokens_in`, those from a prompt cache: they cost `cached_share` of the price.

        Example:
            >>> round(PRICES["gpt-4-1106-preview"].request_usd(), 5)  # (95 * 10 + 264 * 30) / 1e6
            0.00887
            >>> Price(10, 30, "2026-01", "an example", cached_share=0.1).request_usd(1000, 0, tokens_cached=1000)
            0.001
        """
        full_in = tokens_in - (1 - self.cached_share) * tokens_cached
        return (full_in * self.usd_per_mtok_in + tokens_out * self.usd_per_mtok_out) / 1e6


_PAPER = "Ong et al. 2024, arXiv:2406.18665, cost analysis"

PRICES: Mapping[str, Price] = {
    "gpt-4-1106-preview": Price(10.0, 30.0, "2024-06", _PAPER),
    "mixtral-8x7b-instruct-v0.1": Price(0.24, 0.24, "2024-06", _PAPER),
}
"""Prices by model name, those of the paper's pair."""


def request_price_usd(model: str, prices: Mapping[str, float] | None = None) -> float | None:
    """Mean cost of one request to a model, US dollars: the user's figure, else the table's, else None.

    Example:
        >>> request_price_usd("mine", {"mine": 0.002}), request_price_usd("unknown")
        (0.002, None)
    """
    if prices is not None and model in prices:
        price = prices[model]
        if not 0 <= price < float("inf"):
            raise ConfigError(f"The price of {model!r} must be a number >= 0 (USD per request), got {price!r}.")
        return price
    return PRICES[model].request_usd() if model in PRICES else None


def price_note(model: str, prices: Mapping[str, float] | None = None) -> str:
    """Where the price of `request_price_usd` comes from, for a report.

    Example:
        >>> price_note("mine", {"mine": 0.002})
        'mine 0.002 USD a request (given)'
    """
    usd = request_price_usd(model, prices)
    if usd is None:
        return f"{model} has no known price"
    if prices is not None and model in prices:
        return f"{model} {usd:g} USD a request (given)"
    price = PRICES[model]
    tokens = f"{MEAN_TOKENS_IN} tokens in, {MEAN_TOKENS_OUT} out"
    return f"{model} {usd:g} USD a request ({tokens}; prices of {price.as_of}, {price.source})"
