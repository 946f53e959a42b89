"""Which prefixes upstream prompt caches still hold, and what a request costs with them.

The door is `WarmPrefixes` and `request_usd`. A model that answered a conversation a moment ago reads its beginning from
a cache at a share of the price; another model reads all of it anew. The planner compares the two. Nothing here decides,
and nothing is stored beyond the process: each worker knows the conversations that it served.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from prefroute.prices import MEAN_TOKENS_OUT
from prefroute.serve.runtime import Model

__all__ = ["FEWEST_TOKENS", "WARM_S", "WarmPrefixes", "request_usd"]

WARM_S = 300.0
"""How long a prompt cache is counted on after a request, seconds: what providers commonly promise."""

FEWEST_TOKENS = 1024
"""Shorter prefixes are commonly not cached at all."""

_MOST_CONVERSATIONS = 10_000


class WarmPrefixes:
    """The conversations served lately, the oldest forgotten first.

    Args:
        most: Conversations to remember, >= 1; about 450 bytes each.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, most: int = _MOST_CONVERSATIONS, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.clock = clock
        # conversation -> model -> (tokens that its cache holds, when it was last asked)
        self._served: OrderedDict[bytes, dict[str, tuple[int, float]]] = OrderedDict()

    def __len__(self) -> int:
        """Conversations remembered."""
        return len(self._served)

    def remember(self, conversation: bytes, model: str, n_tokens: int) -> None:
        """Note that a model has just read `n_tokens` tokens of a conversation."""
        if n_tokens < FEWEST_TOKENS:
            return
        models = self._served.setdefault(conversation, {})
        models[model] = (n_tokens, self.clock())
        self._served.move_to_end(conversation)
        if len(self._served) > self.most:
            self._served.popitem(last=False)

    def tokens(self, conversation: bytes, model: str) -> int:
        """Tokens of a conversation that a model's cache may still hold; 0 where it never answered or too long ago."""
        n_tokens, asked_at = self._served.get(conversation, {}).get(model, (0, 0.0))
        return n_tokens if n_tokens and self.clock() - asked_at <= WARM_S else 0


def request_usd(model: Model, tokens_in: int, max_tokens_out: int | None, warm_tokens: int = 0) -> float:
    """What one request to a model costs, US dollars.

    The length of the answer is not known yet: it is the stated mean of `prefroute.prices`, or the most that the request
    allows where that is less.

    Args:
        model: Has a price.
        tokens_in: Tokens read.
        max_tokens_out: The longest answer that the request allows; None for no limit.
        warm_tokens: Of `tokens_in`, those that the model's cache holds.

    Example:
        >>> from prefroute.prices import Price
        >>> model = Model("big", "big", "http://127.0.0.1/v1", {}, price=Price(10, 30, "", "", 0.1))
        >>> round(request_usd(model, 10_000, 100), 4), round(request_usd(model, 10_000, 100, warm_tokens=9_000), 4)
        (0.103, 0.022)
    """
    assert model.price is not None
    tokens_out = MEAN_TOKENS_OUT if max_tokens_out is None else min(MEAN_TOKENS_OUT, max_tokens_out)
    return model.price.request_usd(tokens_in, tokens_out, min(warm_tokens, tokens_in))
