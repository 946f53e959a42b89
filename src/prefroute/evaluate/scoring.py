"""From entrants, a benchmark and a protocol to scores: who is trained on what, and which questions are fair.

Every router of one evaluation is scored on the same questions: those that none of them (nor its embedder) was trained
on. Otherwise rows could not be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from prefroute.benchmarks import Benchmark
from prefroute.curve import check_column
from prefroute.data import PromptKeys, contamination, prompt_folds
from prefroute.errors import ConfigError, DataError
from prefroute.evaluate.protocols import AsIs, Folds, Gold, Protocol, TrainOn, draw_gold, without_duplicates
from prefroute.routers import PoolRouter, Router
from prefroute.types import Embedder, FloatArray, IndexArray

__all__ = ["Entrant", "Fitted", "Kind", "Progress", "Scored", "rank_share", "score"]

PLACEHOLDERS = ("strong", "weak")
"""What a router calls its pair that was trained on several: the classes, not two models."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A router that is already fitted: a checkpoint.

    Attributes:
        name: What the report calls it.
        router: The router.
        training: Keys of the prompts that it was trained on; None if nothing is known of them.
    """

    name: str
    router: Router
    training: PromptKeys | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of router, to be trained by the protocol.

    Attributes:
        name: What the report calls it.
        make: From (strong, weak, seed) to an unfitted router.
    """

    name: str
    make: Callable[[str, str, int], Router]


Entrant: TypeAlias = Fitted | Kind


@dataclass(slots=True)
class Scored:
    """Scores on the questions that are evaluated.

    Attributes:
        rows: Rows of the benchmark that are evaluated, rising, shape (n,).
        n_left_out: Questions of the benchmark as published that are neither evaluated nor trained on.
        train_n: Rows that routers were trained on (of all folds: the mean, rounded); None when none was trained.
        scores: Entrant -> win rates, shape (n,); ranks within the fold for `Folds`.
        predictions: Entrant -> expected quality of each model of the benchmark, shape (n, m); pool routers only.
        embedders: Entrant -> id of its embedder, or None.
        subject_prior: Mean gain of each question's subject in the training part, shape (n,); None without one.
        warnings: Entrant -> what a reader must know.
    """

    rows: IndexArray
    n_left_out: int
    train_n: int | None
    scores: dict[str, FloatArray] = field(default_factory=dict)
    predictions: dict[str, FloatArray] = field(default_factory=dict)
    embedders: dict[str, str | None] = field(default_factory=dict)
    subject_prior: FloatArray | None = None
    warnings: dict[str, list[str]] = field(default_factory=dict)


def score(
    entrants: Sequence[Entrant], benchmark: Benchmark, protocol: Protocol, seed: int, progress: Progress | None
) -> Scored:
    """Train the kinds as the protocol says, and score every entrant on the same fair questions.

    Raises:
        ConfigError: If names repeat, or a kind needs training and the protocol brings none.
        DataError: If no question is left, or training data does not fit a kind.
    """
    _check(entrants, protocol)
    fresh = {e.name: e.make(benchmark.strong, benchmark.weak, seed) for e in entrants if isinstance(e, Kind)}
    fair = _fair(entrants, fresh, benchmark, protocol)
    turns = _turns(benchmark, protocol, fair, seed)
    rows = np.sort(np.concatenate([test for _, test in turns]))
    if not len(rows):
        raise DataError(
            f"No question of {benchmark.name} is left to evaluate on: all {len(benchmark.outcomes)} stand in the "
            "training data of an entrant. Leave that entrant out, or train it on other data."
        )
    in_turn = len(turns) if isinstance(protocol, Folds) else 1
    train_n = _train_n(protocol, turns)
    drawn = train_n or 0 if isinstance(protocol, Gold) else 0
    total = len(benchmark.outcomes) + benchmark.n_left_out
    scored = Scored(rows, total - len(rows) - drawn, train_n)
    done, steps = 0, len(entrants) * in_turn
    for entrant in entrants:
        _prepare(scored, entrant, benchmark)
        for train, test in turns:
            router = _trained(entrant, benchmark, protocol, train, seed)
            _fill(scored, entrant.name, router, benchmark, test)
            if isinstance(protocol, Folds):
                place = np.searchsorted(rows, test)
                scored.scores[entrant.name][place] = rank_share(scored.scores[entrant.name][place])
            done += 1
            if progress is not None:
                progress(done, steps)
        check_column(f"win_rate of {entrant.name}", scored.scores[entrant.name], len(rows))
    scored.subject_prior = _subject_prior(benchmark, protocol, turns, rows)
    return scored


def rank_share(scores: FloatArray) -> FloatArray:
    """Share of the scores that each is above, ties counted half, in (0, 1), shape (n,).

    Each fold has a router of its own, whose threshold is its own too: at a strong-call share c every one of them sends
    c of its fold to the strong model. Putting raw scores together would instead compare routers by their mean, which
    leans against the truth: a fold that happens to hold the hard questions was trained on the easy ones.

    Example:
        >>> rank_share(np.array([0.2, 0.9, 0.2, 0.5])).tolist()
        [0.25, 0.875, 0.25, 0.625]
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts / 2
    share: FloatArray = below[inverse] / max(len(scores), 1)
    return share


def _check(entrants: Sequence[Entrant], protocol: Protocol) -> None:
    names = [entrant.name for entrant in entrants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Each entrant needs its own name, got {twice[0]!r} twice.")
    kinds = [entrant.name for entrant in entrants if isinstance(entrant, Kind)]
    if kinds and isinstance(protocol, AsIs):
        raise ConfigError(
            f"{kinds[0]!r} is a kind of router and must be trained first. Add --train-on PATH, --gold N or --folds K, "
            "or name a checkpoint folder."
        )


def _embedder(router: Router) -> Embedder | None:
    found = getattr(router, "embedder", None)
    return found if isinstance(found, Embedder) else None


def _fair(
    entrants: Sequence[Entrant], fresh: dict[str, Router], benchmark: Benchmark, protocol: Protocol
) -> IndexArray:
    """Rows that no entrant has seen before the protocol begins."""
    prompts = benchmark.outcomes.prompts
    seen = np.zeros(len(prompts), dtype=np.bool_)
    routers = [e.router if isinstance(e, Fitted) else fresh[e.name] for e in entrants]
    keys = [e.training for e in entrants if isinstance(e, Fitted) and e.training is not None]
    embedders = {found.id: found for found in map(_embedder, routers) if found is not None}
    keys += [PromptKeys.from_hashes(embedder.trained_on) for embedder in embedders.values() if embedder.trained_on]
    if isinstance(protocol, TrainOn):
        keys.append(PromptKeys.of(protocol.data.prompts))
        for embedder in {e.id: e for e in map(_embedder, fresh.values()) if e is not None}.values():
            vectors = embedder.encode(protocol.data.prompts), embedder.encode(prompts)
            seen = seen | contamination(prompts, PromptKeys.of([]), *vectors).any
    if keys:
        seen = seen | contamination(prompts, PromptKeys.merge(keys)).any
    return np.flatnonzero(~seen)


def _turns(
    benchmark: Benchmark, protocol: Protocol, fair: IndexArray, seed: int
) -> list[tuple[IndexArray, IndexArray]]:
    """(rows trained on, rows scored) of each training, one per fold; nothing is trained on outside in-domain."""
    prompts = benchmark.outcomes.prompts
    if isinstance(protocol, Gold):
        subjects = None if benchmark.subjects is None else [benchmark.subjects[i] for i in fair]
        drawn = fair[draw_gold(subjects, len(fair), protocol.n, seed)]
        return [(drawn, without_duplicates(prompts, drawn, fair))]
    if isinstance(protocol, Folds):
        fold = prompt_folds([prompts[i] for i in fair], protocol.k, seed)
        return [(fair[fold != i], fair[fold == i]) for i in range(protocol.k)]
    return [(fair[:0], fair)]


def _train_n(protocol: Protocol, turns: list[tuple[IndexArray, IndexArray]]) -> int | None:
    if isinstance(protocol, AsIs):
        return None
    if isinstance(protocol, TrainOn):
        return len(protocol.data)
    return round(float(np.mean([len(train) for train, _ in turns])))


def _trained(entrant: Entrant, benchmark: Benchmark, protocol: Protocol, train: IndexArray, seed: int) -> Router:
    if isinstance(entrant, Fitted):
        return entrant.router
    router = entrant.make(benchmark.strong, benchmark.weak, seed)
    return router.fit(protocol.data if isinstance(protocol, TrainOn) else benchmark.outcomes.take(train))


def _prepare(scored: Scored, entrant: Entrant, benchmark: Benchmark) -> None:
    scored.scores[entrant.name] = np.full(len(scored.rows), np.nan)
    warnings = scored.warnings.setdefault(entrant.name, [])
    if not isinstance(entrant, Fitted):
        return
    if entrant.training is None:
        warnings.append("nothing is known of its training prompts: questions that it was trained on may be among these")
    pair = (entrant.router.strong, entrant.router.weak)
    if pair not in {(benchmark.strong, benchmark.weak), PLACEHOLDERS}:
        warnings.append(f"trained for {pair[0]} / {pair[1]}, scored on another pair")


def _fill(scored: Scored, name: str, router: Router, benchmark: Benchmark, test: IndexArray) -> None:
    """Scores of the rows `test`, put at their place among the evaluated rows."""
    place = np.searchsorted(scored.rows, test)
    prompts = [benchmark.outcomes.prompts[i] for i in test]
    scored.scores[name][place] = router.win_rate(prompts)
    embedder = _embedder(router)
    scored.embedders[name] = None if embedder is None else embedder.id
    models = benchmark.outcomes.models
    if isinstance(router, PoolRouter) and len(models) > 2 and set(models) <= set(router.models):
        columns = [router.models.index(model) for model in models]
        table = scored.predictions.setdefault(name, np.full((len(scored.rows), len(models)), np.nan))
        table[place] = router.predict(prompts)[:, columns]


def _subject_prior(
    benchmark: Benchmark, protocol: Protocol, turns: list[tuple[IndexArray, IndexArray]], rows: IndexArray
) -> FloatArray | None:
    """Mean gain per subject of the training part; a subject that it lacks gets the mean of all."""
    if benchmark.subjects is None or not isinstance(protocol, Gold | Folds):
        return None
    names, group = np.unique(np.array(benchmark.subjects), return_inverse=True)
    gain = benchmark.outcomes.gain(benchmark.strong, benchmark.weak)
    prior = np.full(len(rows), np.nan)
    for train, test in turns:
        n: npt.NDArray[np.intp] = np.bincount(group[train], minlength=len(names))
        total = np.bincount(group[train], weights=gain[train], minlength=len(names))
        mean = np.where(n > 0, total / np.maximum(n, 1), gain[train].mean())
        guess = mean[group[test]]
        prior[np.searchsorted(rows, test)] = rank_share(guess) if isinstance(protocol, Folds) else guess
    return prior
