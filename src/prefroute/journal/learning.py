"""From the journal back to training data: what was asked, who answered, and what the client thought of it.

The door is `feedback_data`. Feedback is one-sided: only the model that answered was seen, so most of a table of
outcomes is empty. Requests with the same prompt share a row, and where two models answered the same prompt, as
exploration (`epsilon`) makes them, a router of a pair has something to learn.

Whoever has a key may give feedback on its own requests, so one key could teach a router what it likes. A key that gives
most of the feedback without asking most of the questions is named, and its feedback can be left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, Select, case, func, select

from prefroute.journal.escape import unescape
from prefroute.journal.summary import RoutePair
from prefroute.journal.tables import feedback, requests, texts
from prefroute.types import Battles, Outcomes

__all__ = ["FeedbackData", "LoudKey", "feedback_data"]

_MOST = 0.5  # of the feedback: a share beyond it is named ...
_TIMES_ITS_REQUESTS = 2  # ... where it is so many times the key's share of the requests


@dataclass(frozen=True, slots=True)
class LoudKey:
    """A key that gave more than half of the feedback, and at least twice its share of the requests.

    Attributes:
        key_id: Its id.
        feedback_share: Of the feedback that was used, above 0.5.
        request_share: Of the requests, at most 0.5.
    """

    key_id: str
    feedback_share: float
    request_share: float

    def __str__(self) -> str:
        """What is odd about it, as a sentence or two."""
        return (
            f"{self.feedback_share:.0%} of this feedback came with {self.key_id}, which sent {self.request_share:.0%} "
            "of the requests. What learns from it learns what that key likes."
        )


@dataclass(frozen=True, slots=True)
class FeedbackData:
    """Training data; n prompts, d dimensions.

    Attributes:
        outcomes: From scores: one row for each prompt, the mean score of each model that answered it, NaN for the
            others; None without any.
        battles: From preferences; None without any.
        hashes: Of the prompts whose vectors follow, n of them; empty unless vectors were asked for.
        vectors: Of the prompts, shape (n, d).
        n_left_out: Why feedback could not be used -> how many.
        loud_key: The key whose word is most of this, if there is one.
    """

    outcomes: Outcomes | None
    battles: Battles | None
    hashes: tuple[str, ...]
    vectors: npt.NDArray[np.float16]
    n_left_out: Mapping[str, int]
    loud_key: LoudKey | None = None


def feedback_data(
    engine: Engine,
    *,
    since: float = 0.0,
    embedder: str | None = None,
    pairs: Mapping[str, RoutePair] | None = None,
    without_keys: Collection[str] = (),
) -> FeedbackData:
    """Read the feedback.

    Args:
        engine: Of the journal.
        since: Wall-clock time of the requests, seconds since 1970, UTC.
        embedder: Id of an embedder: take its stored vectors, and call each prompt by its hash. None: take the stored
            text.
        pairs: Strong and weak model of each route: who was beaten where the model that answered is preferred.
        without_keys: Ids of keys whose feedback is left out.
    """
    left_out: Counter[str] = Counter()
    given: Counter[str | None] = Counter()  # by key
    scored: list[tuple[str, Row[tuple[object, ...]]]] = []
    met: list[tuple[str, str, str]] = []
    vectors: dict[str, bytes] = {}
    with engine.connect() as connection:
        for row in connection.execution_options(yield_per=1000).execute(_with_feedback(since)):
            prompt, why_not = _prompt(row, embedder)
            beaten = None if row.preferred is None else _beaten(row, pairs or {})
            if row.key_id in without_keys:
                left_out[f"given with {row.key_id}"] += 1
            elif prompt is None:
                left_out[why_not] += 1
            elif row.preferred is not None and beaten is None:
                left_out["the model that answered is preferred, and its rival is not known"] += 1
            else:
                given[row.key_id] += 1
                if embedder is not None:
                    vectors[prompt] = row.embedding
                if beaten is None:
                    scored.append((prompt, row))
                else:
                    met.append((prompt, row.preferred, beaten))
        loud_key = _loud_key(connection, given, since)
    return FeedbackData(
        outcomes=_outcomes(scored),
        battles=_battles(met),
        hashes=tuple(vectors),
        vectors=_stacked(vectors.values()),
        n_left_out=dict(left_out),
        loud_key=loud_key,
    )


def _with_feedback(since: float) -> Select[Any]:
    """The answered requests that have feedback, in the order in which they came."""
    return (
        select(
            feedback.c.key_id,
            feedback.c.score,
            feedback.c.preferred,
            requests.c.model,
            requests.c.route,
            requests.c.cost_usd,
            requests.c.prompt_hash,
            texts,
        )
        .join(requests, requests.c.request_id == feedback.c.request_id)
        .outerjoin(texts, texts.c.request_id == feedback.c.request_id)
        .where(requests.c.started_at >= since, requests.c.model.is_not(None))
        .order_by(requests.c.started_at, requests.c.request_id)
    )


def _loud_key(connection: Connection, given: Counter[str | None], since: float) -> LoudKey | None:
    """The key that stands out among `given`, the feedback that was used by key."""
    ((key_id, n),) = given.most_common(1) or [(None, 0)]
    if key_id is None or n <= _MOST * given.total():
        return None
    of_key = func.sum(case((requests.c.key_id == key_id, 1), else_=0))
    asked = connection.execute(select(func.count(), of_key).where(requests.c.started_at >= since)).one()
    found = LoudKey(key_id, n / given.total(), asked[1] / asked[0])
    return found if found.feedback_share >= _TIMES_ITS_REQUESTS * found.request_share else None


def _prompt(row: Row[tuple[object, ...]], embedder: str | None) -> tuple[str | None, str]:
    """What stands for the prompt in the table; else None, and why."""
    if embedder is None:
        return (None, "its text is not stored (any more)") if row.prompt is None else (unescape(row.prompt), "")
    if row.embedding is None or row.prompt_hash is None:
        return None, "its embedding is not stored (any more)"
    if row.embedder != embedder:
        return None, f"the embedding is of {row.embedder!r}, not of {embedder!r}"
    return row.prompt_hash, ""


def _beaten(row: Row[tuple[object, ...]], pairs: Mapping[str, RoutePair]) -> str | None:
    """The model that the preferred one beat."""
    if row.preferred != row.model:
        return str(row.model)
    pair = pairs.get(row.route)
    if pair is None or row.model not in (pair.strong, pair.weak):
        return None
    return pair.weak if row.model == pair.strong else pair.strong


def _outcomes(scored: list[tuple[str, Row[tuple[object, ...]]]]) -> Outcomes | None:
    if not scored:
        return None
    scores: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    costs: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for prompt, row in scored:
        scores[prompt, row.model].append(row.score)
        if row.cost_usd is not None:
            costs[prompt, row.model].append(row.cost_usd)
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in scored))}
    models = {model: i for i, model in enumerate(sorted({row.model for _, row in scored}))}
    quality, cost_usd = np.full((2, len(prompts), len(models)), np.nan)
    for table, values in ((quality, scores), (cost_usd, costs)):
        for (prompt, model), found in values.items():
            table[prompts[prompt], models[model]] = sum(found) / len(found)
    return Outcomes(list(prompts), tuple(models), quality, cost_usd if costs else None)


def _battles(met: list[tuple[str, str, str]]) -> Battles | None:
    if not met:
        return None
    prompts, winners, losers = zip(*met, strict=True)
    return Battles.of(list(prompts), winners, losers, [1.0] * len(met))


def _stacked(vectors: Iterable[bytes]) -> npt.NDArray[np.float16]:
    rows = [np.frombuffer(vector, dtype="<f2") for vector in vectors]
    return np.stack(rows).astype(np.float16) if rows else np.zeros((0, 0), dtype=np.float16)
