"""What routers are trained on: the folder's benchmarks and pairs, without what overlaps the questions of a test.

The door is `Data`. Every source compares a class `strong` with a class `weak`, whatever its models are called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from prefroute.benchmarks import Benchmark, load_benchmark
from prefroute.checkpoint import open_checkpoint
from prefroute.cli.opening import make_router
from prefroute.data import PromptKeys, contamination, read_columns, win_examples
from prefroute.embed import open_embedder
from prefroute.evaluate import Fitted
from prefroute.routers import Router, routers
from prefroute.settings import cache_dir
from prefroute.types import Battles, Embedder, FloatArray, Mixture, Outcomes, Source

__all__ = ["HUMAN_PAIRS", "PAIR", "Data", "WithOthers"]

_T = TypeVar("_T")
_VOTED = ("claude-v1", "gpt-3.5-turbo", "vicuna-13b-v1.2", "alpaca-13b", "llama-13b")
HUMAN_PAIRS = tuple(("gpt-4", weak) for weak in _VOTED)
"""Pairs of the human votes on MT-Bench: gpt-4 against each other model."""

_PARAMS: dict[str, dict[str, Any]] = {"experts": {"folds": 5}}  # half the time of its ten
_ELSEWHERE: dict[str, dict[str, Any]] = {"experts": {"odds": 0.0}}  # all that it will be asked is new to it
PAIR = ("strong", "weak")
_BENCHMARKS = ("mmlu", "gsm8k", "mt-bench")
PAIRS_FILE = "strong_weak_pairs/pairs.parquet"
_FILES = (
    *(f"routellm_benchmarks/{name}.parquet" for name in ("mmlu", "gsm8k", "mt_bench")),
    *(f"mt_bench_human_judgments/{name}.parquet" for name in ("questions", "human_votes")),
    *(f"mmlu_pro_multi/{name}.parquet" for name in ("questions", "outcomes_long")),
    *(f"routerbench_routerdc_subset/{name}.parquet" for name in ("prompts", "outcomes_long")),
    PAIRS_FILE,
)


@dataclass
class Data:
    """The data folder, with what has been loaded, embedded and trained so far.

    Attributes:
        folder: Holds `routellm_benchmarks/`.
        progress: Shows how many prompts are embedded; None for silence.
    """

    folder: Path
    progress: Callable[[int, int], None] | None = None
    _kept: dict[tuple[object, ...], object] = field(default_factory=dict)

    def sha256(self) -> str:
        """Over the files that tables are computed from: other data, other rows."""
        return self._once(("sha256",), lambda: hashlib.sha256(b"".join(map(self._digest, _FILES))).hexdigest())

    def benchmark(self, name: str, strong: str | None = None, weak: str | None = None) -> Benchmark:
        """A benchmark by name and pair."""
        key = ("benchmark", name, strong, weak)
        return self._once(key, lambda: load_benchmark(name, self.folder, strong=strong, weak=weak))

    def embedder(self, spec: str) -> Embedder:
        """The embedder, with its vectors kept in the user's cache."""
        return self._once(
            ("embedder", spec), lambda: open_embedder(spec, cache_dir=cache_dir(), progress=self.progress)
        )

    def others(self, benchmark: str) -> Mixture:
        """Every source but the benchmark, without the rows that are like a question of it.

        Its questions are kept out by text, by stem, by n-grams, and by a cosine of at least 0.95 of the embedder that
        ships, so that all rows of a table have the same training data and the same questions.
        """
        return self._once(("others", _family(benchmark)), lambda: self._others(_family(benchmark)))

    def prior(self, benchmark: str) -> float:
        """Mean win rate of the rows that routers see who never saw the benchmark, every source counting the same."""
        examples = win_examples(self.others(benchmark), *PAIR)
        return float(np.mean(np.bincount(examples.source, examples.win) / np.bincount(examples.source)))

    def trained_elsewhere(self, kind: str, benchmark: str, embedder: str) -> Fitted:
        """A router that never saw the benchmark, with the keys of what it did see."""

        def fitted() -> Fitted:
            mixture = self.others(benchmark)
            router = self.unfitted(kind, *PAIR, embedder=embedder, seed=0, **_ELSEWHERE.get(kind, {}))
            return Fitted(kind, router.fit(mixture), PromptKeys.of(mixture.prompts))

        return self._once(("fitted", kind, _family(benchmark), embedder), fitted)

    def shipped(self) -> tuple[Fitted, str]:
        """The router in the package, and its fingerprint."""

        def opened() -> tuple[Fitted, str]:
            found = open_checkpoint("default")
            return Fitted("default", found.router, found.training), found.fingerprint

        return self._once(("shipped",), opened)

    def unfitted(self, kind: str, strong: str, weak: str, *, embedder: str, seed: int, **params: Any) -> Router:
        """A router with nothing learned; its kind's own settings, but `experts` has five folds, as the shipped one."""
        vectors = self.embedder(embedder) if routers.get(kind).uses_embedder else None
        return make_router(kind, strong, weak, embedder=vectors, seed=seed, params=_PARAMS.get(kind, {}) | params)

    def _once(self, key: tuple[object, ...], make: Callable[[], _T]) -> _T:
        if key not in self._kept:
            self._kept[key] = make()
        return cast("_T", self._kept[key])

    def _digest(self, name: str) -> bytes:
        with (self.folder / name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()

    def _questions(self, family: str) -> list[str]:
        """The prompts of a benchmark; those of MT-Bench with every question that people voted on."""
        prompts = list(self.benchmark(family).outcomes.prompts)
        if family == "mt-bench":
            for pair in HUMAN_PAIRS:
                prompts += self.benchmark("mt-bench-human", *pair).outcomes.prompts
        return list(dict.fromkeys(prompts))

    def _others(self, family: str) -> Mixture:
        questions = self._questions(family)
        keys, embedder = PromptKeys.of(questions), self.embedder("static")
        vectors = embedder.encode(questions)
        kept = []
        for source in [*(self._of_benchmark(name) for name in _BENCHMARKS if name != family), *self._of_pairs()]:
            prompts = source.data.prompts
            free = ~contamination(prompts, keys, vectors, embedder.encode(prompts)).any
            if free.any():
                kept.append(replace(source, data=source.data.take(free)))
        return Mixture(tuple(kept))

    def _of_benchmark(self, name: str) -> Source:
        benchmark = self.benchmark(name)
        table = benchmark.outcomes.select([benchmark.strong, benchmark.weak])
        return Source(name, Outcomes(table.prompts, PAIR, table.quality), *PAIR)

    def _of_pairs(self) -> list[Source]:
        return self._once(("pairs",), lambda: _read_pairs(self.folder / PAIRS_FILE))


@dataclass
class WithOthers:
    """A router that is fitted on what it is given and on other sources too.

    Attributes:
        router: Unfitted; learns from mixtures.
        name: What the given table is called among the sources.
        others: The other sources.
    """

    router: Router
    name: str
    others: Mixture

    @property
    def embedder(self) -> Embedder | None:
        """The router's embedder: an evaluation asks what it was trained on."""
        return getattr(self.router, "embedder", None)

    def fit(self, data: Battles | Outcomes) -> Router:
        """The fitted router."""
        own = Source(self.name, data, self.router.strong, self.router.weak)
        return self.router.fit(Mixture((own, *self.others.sources)))


def _family(benchmark: str) -> str:
    """The benchmark whose questions a benchmark has: both kinds of MT-Bench have the same."""
    return "mt-bench" if benchmark == "mt-bench-human" else benchmark


def _read_pairs(path: Path) -> list[Source]:
    """The sources of `strong_weak_pairs`, without the rows that are known to be questions of a benchmark."""
    names = ("source", "prompt", "strong_score", "weak_score", "metric", "overlaps_routellm_eval")
    rows = read_columns(path, names)
    scores = np.stack([rows["strong_score"], rows["weak_score"]], axis=1).astype(np.float64)
    free = ~rows["overlaps_routellm_eval"].astype(bool) & (scores >= 0).all(axis=1)  # -1: the judge gave none
    found = []
    for name in sorted(set(rows["source"][free].tolist())):
        chosen = np.flatnonzero((rows["source"] == name) & free)
        prompts = [str(rows["prompt"][i]) for i in chosen]
        found.append(Source(name, _table(prompts, scores[chosen], str(rows["metric"][chosen[0]])), *PAIR))
    return found


def _table(prompts: list[str], scores: FloatArray, metric: str) -> Battles | Outcomes:
    """Scores, shape (n, 2), as outcomes in [0, 1]; as battles where the weak score is how often it beats the strong."""
    if metric.startswith("P(beats gpt4_1106_preview)"):
        first = np.zeros(len(prompts), dtype=np.int32)
        return Battles(prompts, PAIR, first, first + 1, 1 - scores[:, 1])
    return Outcomes(prompts, PAIR, (scores - 1) / 9 if "1-10" in metric else scores)
