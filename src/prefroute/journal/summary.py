"""What the journal says about a stretch of time: traffic, cost, latency, errors, feedback.

The door is `summarise`. Sums and counts are made by the database, which reads each row once; what comes back is as
small as the number of models, codes and distinct milliseconds. It must not know the configuration: who has prices and
pairs hands them in.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Integer, Row, Select, case, cast, func, select

from prefroute.journal.tables import attempts, feedback, requests
from prefroute.prices import Price

__all__ = ["CostComparison", "FeedbackMean", "Latency", "RoutePair", "Share", "Summary", "summarise"]

_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class RoutePair:
    """What a route's traffic is compared with.

    Attributes:
        strong: Name of the strong model.
        weak: Name of the weak model.
    """

    strong: str
    weak: str


@dataclass(frozen=True, slots=True)
class Share:
    """What one model got of one route.

    Attributes:
        route: None where clients named the model.
        model: None where there was no choice, as after an error.
        n: Requests.
        share: Of the route's requests, in [0, 1].
        n_errors: Requests that the client saw fail, or that died with the gateway.
        n_fallback: Requests that another model was chosen for, which failed.
        tokens_in: Sum of tokens read.
        tokens_cached: Of these, tokens that came from the upstream's prompt cache, as far as it said so.
        tokens_out: Sum of tokens written.
        cost_usd: Sum, US dollars, over the requests whose cost is known.
        n_estimated: Requests whose tokens are our estimate, since the upstream's count is missing or cannot be true.
        estimated_usd: What of `cost_usd` rests on such estimates.
    """

    route: str | None
    model: str | None
    n: int
    share: float
    n_errors: int
    n_fallback: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    cost_usd: float
    n_estimated: int
    estimated_usd: float


@dataclass(frozen=True, slots=True)
class CostComparison:
    """What a route cost, and what the same tokens would have cost elsewhere.

    Attributes:
        route: Its name.
        n: Requests whose cost and tokens are known: the ones that are compared.
        cost_usd: Of the models' answers.
        router_usd: Of the router's time for every request of the route.
        always_strong_usd: Had the strong model read and written the same tokens, as many of them out of its prompt
            cache; None without its price.
        always_weak_usd: Likewise for the weak one.
        saved_usd: Against always-strong, the router's own cost taken off.
        saved_share: Of what always-strong would have cost.
    """

    route: str
    n: int
    cost_usd: float
    router_usd: float
    always_strong_usd: float | None
    always_weak_usd: float | None
    saved_usd: float | None
    saved_share: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over answered requests, to the millisecond, seconds; None without any."""

    n: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class FeedbackMean:
    """Scores that a model's answers got.

    Attributes:
        model: That answered.
        n: Scores.
        mean: In [0, 1].
        low: Lower end of the 95% interval of the mean (normal approximation), in [0, 1]; None below two scores.
        high: Its upper end.
        n_preferred: Feedbacks that named this model as preferred, whoever answered.
    """

    model: str
    n: int
    mean: float | None
    low: float | None
    high: float | None
    n_preferred: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A stretch of time.

    Attributes:
        n: Requests.
        n_running: Requests that have not ended.
        first_at: Start of the earliest, wall-clock time, seconds since 1970, UTC; None without any.
        last_at: Start of the latest.
        shares: By route and model, largest first.
        costs: By route.
        latency: From the first byte in to the last byte out.
        first_token: Of streamed answers, to the first content.
        errors: Code of the error that the client saw -> requests.
        attempts: (model, outcome) -> tries at upstreams.
        feedback: By model.
        machine_usd_per_hour: What the router's time was priced at.
    """

    n: int
    n_running: int
    first_at: float | None
    last_at: float | None
    shares: Sequence[Share]
    costs: Sequence[CostComparison]
    latency: Latency
    first_token: Latency
    errors: Mapping[str, int]
    attempts: Mapping[tuple[str, str], int]
    feedback: Sequence[FeedbackMean]
    machine_usd_per_hour: float

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        tries = [{"model": model, "outcome": outcome, "n": n} for (model, outcome), n in self.attempts.items()]
        return asdict(self) | {"attempts": tries}


def summarise(
    engine: Engine,
    *,
    since: float = 0.0,
    pairs: Mapping[str, RoutePair] | None = None,
    prices: Mapping[str, Price] | None = None,
    machine_usd_per_hour: float = 0.05,
) -> Summary:
    """Read the journal from a time on. Requests that only asked for a decision (`/v1/route`) are left out.

    Args:
        engine: Of the journal.
        since: Wall-clock time, seconds since 1970, UTC.
        pairs: Strong and weak model of each route, for the comparison of costs; None leaves it out.
        prices: Of the models.
        machine_usd_per_hour: What an hour of the machine that scores costs, >= 0, US dollars.
    """
    recent = (requests.c.started_at >= since) & (requests.c.endpoint != "route")
    with _moment(engine) as connection:
        groups = connection.execute(_groups(recent)).all()
        return Summary(
            n=sum(group.n for group in groups),
            n_running=sum(group.n_running for group in groups),
            first_at=min((group.first_at for group in groups), default=None),
            last_at=max((group.last_at for group in groups), default=None),
            shares=_shares(groups),
            costs=[
                _cost(
                    route, pair, [group for group in groups if group.route == route], prices or {}, machine_usd_per_hour
                )
                for route, pair in sorted((pairs or {}).items())
                if any(group.route == route for group in groups)
            ],
            latency=_latency(connection, requests.c.latency_s, recent),
            first_token=_latency(connection, requests.c.first_token_s, recent),
            errors=_errors(groups),
            attempts=_attempts(connection, recent),
            feedback=_feedback(connection, recent),
            machine_usd_per_hour=machine_usd_per_hour,
        )


@contextmanager
def _moment(engine: Engine) -> Iterator[Connection]:
    """A connection whose queries all see the same moment, while the gateway goes on writing."""
    begin = "BEGIN" if engine.dialect.name == "sqlite" else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        yield connection


def _groups(recent: ColumnElement[bool]) -> Select[Any]:
    """Counts and sums by route, model and error: one pass over the table serves all that is made of them."""
    known = requests.c.cost_usd.is_not(None) & requests.c.tokens_in.is_not(None) & requests.c.tokens_out.is_not(None)

    def total(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(column), 0)

    def total_where(which: ColumnElement[bool], column: ColumnElement[Any] | int) -> ColumnElement[Any]:
        return func.sum(case((which, func.coalesce(column, 0)), else_=0))

    is_estimate = requests.c.usage_source == "estimate"
    keys = (requests.c.route, requests.c.model, requests.c.error)
    return (
        select(
            *keys,
            func.count().label("n"),
            func.count(requests.c.running_in).label("n_running"),
            func.min(requests.c.started_at).label("first_at"),
            func.max(requests.c.started_at).label("last_at"),
            total_where(requests.c.reason == "fallback", 1).label("n_fallback"),
            total(requests.c.tokens_in).label("tokens_in"),
            total(requests.c.tokens_cached).label("tokens_cached"),
            total(requests.c.tokens_out).label("tokens_out"),
            total(requests.c.cost_usd).label("cost_usd"),
            total(requests.c.scoring_s).label("scoring_s"),
            total_where(is_estimate, 1).label("n_estimated"),
            total_where(is_estimate, requests.c.cost_usd).label("estimated_usd"),
            total_where(known, 1).label("n_known"),
            total_where(known, requests.c.cost_usd).label("known_usd"),
            total_where(known, requests.c.tokens_in).label("known_in"),
            total_where(known, requests.c.tokens_cached).label("known_cached"),
            total_where(known, requests.c.tokens_out).label("known_out"),
        )
        .where(recent)
        .group_by(*keys)
    )


def _shares(groups: Sequence[Row[Any]]) -> list[Share]:
    n_route: Counter[str | None] = Counter()
    merged: defaultdict[tuple[str | None, str | None], list[Row[Any]]] = defaultdict(list)
    for group in groups:
        n_route[group.route] += group.n
        merged[group.route, group.model].append(group)
    shares = [
        Share(
            route=route,
            model=model,
            n=(n := sum(group.n for group in parts)),
            share=n / n_route[route],
            n_errors=sum(group.n for group in parts if group.error is not None),
            n_fallback=int(sum(group.n_fallback for group in parts)),
            tokens_in=int(sum(group.tokens_in for group in parts)),
            tokens_cached=int(sum(group.tokens_cached for group in parts)),
            tokens_out=int(sum(group.tokens_out for group in parts)),
            cost_usd=float(sum(group.cost_usd for group in parts)),
            n_estimated=int(sum(group.n_estimated for group in parts)),
            estimated_usd=float(sum(group.estimated_usd for group in parts)),
        )
        for (route, model), parts in merged.items()
    ]
    return sorted(shares, key=lambda share: (-n_route[share.route], share.route or "", -share.n, share.model or ""))


def _cost(
    route: str,
    pair: RoutePair,
    groups: Sequence[Row[Any]],
    prices: Mapping[str, Price],
    machine_usd_per_hour: float,
) -> CostComparison:
    cost_usd = float(sum(group.known_usd for group in groups))
    router_usd = float(sum(group.scoring_s for group in groups)) / 3600 * machine_usd_per_hour
    # a price is linear in the tokens: the sum of the requests costs what the requests cost together
    tokens = [float(sum(getattr(group, f"known_{kind}") for group in groups)) for kind in ("in", "out", "cached")]
    strong_usd, weak_usd = (
        prices[model].request_usd(*tokens) if model in prices else None for model in (pair.strong, pair.weak)
    )
    saved_usd = None if strong_usd is None else strong_usd - cost_usd - router_usd
    return CostComparison(
        route=route,
        n=int(sum(group.n_known for group in groups)),
        cost_usd=cost_usd,
        router_usd=router_usd,
        always_strong_usd=strong_usd,
        always_weak_usd=weak_usd,
        saved_usd=saved_usd,
        saved_share=saved_usd / strong_usd if saved_usd is not None and strong_usd else None,
    )


def _errors(groups: Sequence[Row[Any]]) -> dict[str, int]:
    n: Counter[str] = Counter()
    for group in groups:
        if group.error is not None:
            n[group.error] += group.n
    return dict(n.most_common())


def _latency(connection: Connection, seconds: ColumnElement[Any], recent: ColumnElement[bool]) -> Latency:
    """Percentiles from the count of each millisecond: one pass, and neither database has to sort its rows."""
    ms = cast(seconds * 1000, Integer).label("ms")
    rows = connection.execute(
        select(ms, func.count()).where(recent, seconds.is_not(None), requests.c.status < 400).group_by(ms).order_by(ms)
    ).all()
    n = sum(count for _, count in rows)

    def percentile(share: float) -> float | None:
        rank, seen = math.ceil(share * n), 0
        for value, count in rows:
            seen += count
            if seen >= rank:
                return float(value) / 1000
        return None

    return Latency(n, percentile(0.50), percentile(0.95), percentile(0.99))


def _attempts(connection: Connection, recent: ColumnElement[bool]) -> dict[tuple[str, str], int]:
    query = (
        select(attempts.c.model, attempts.c.outcome, func.count().label("n"))
        .join(requests, requests.c.request_id == attempts.c.request_id)
        .where(recent)
        .group_by(attempts.c.model, attempts.c.outcome)
        .order_by(attempts.c.model, attempts.c.outcome)
    )
    return {(row.model, row.outcome): row.n for row in connection.execute(query)}


def _feedback(connection: Connection, recent: ColumnElement[bool]) -> list[FeedbackMean]:
    score = feedback.c.score
    joined = feedback.join(requests, requests.c.request_id == feedback.c.request_id)
    scored = connection.execute(
        select(
            requests.c.model,
            func.count(score).label("n"),
            func.sum(score).label("total"),
            func.sum(score * score).label("squares"),
        )
        .select_from(joined)
        .where(recent, requests.c.model.is_not(None))
        .group_by(requests.c.model)
    ).all()
    preferred = connection.execute(
        select(feedback.c.preferred, func.count().label("n"))
        .select_from(joined)
        .where(recent, feedback.c.preferred.is_not(None))
        .group_by(feedback.c.preferred)
    ).all()
    wins = {row.preferred: row.n for row in preferred}
    sums = {row.model: (row.n, float(row.total or 0), float(row.squares or 0)) for row in scored}
    return [_mean(model, *sums.get(model, (0, 0.0, 0.0)), wins.get(model, 0)) for model in sorted({*sums, *wins})]


def _mean(model: str, n: int, total: float, squares: float, n_preferred: int) -> FeedbackMean:
    if n == 0:
        return FeedbackMean(model, 0, None, None, None, n_preferred)
    mean = total / n
    if n == 1:
        return FeedbackMean(model, 1, mean, None, None, n_preferred)
    variance = max(0.0, squares - n * mean * mean) / (n - 1)
    half = _Z95 * math.sqrt(variance / n)
    return FeedbackMean(model, n, mean, max(0.0, mean - half), min(1.0, mean + half), n_preferred)
