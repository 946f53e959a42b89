"""Rebuild the router that ships with prefroute, from the data folder. The same data gives the same bytes.

    python scripts/train_default.py --data DIR --out src/prefroute/default

Trains on the train half (first byte of the prompt's hash even) of MMLU, GSM8K, RouterBench, the part of MMLU-Pro that
is not MMLU, and the ZeroEval, BFCL and arena rows of `strong_weak_pairs`; the other halves stay for evaluation, for
good. Whatever matches a question of an evaluation half or of MT-Bench, by its text, its stem, its n-grams or its MiniLM
vector (a cosine of 0.95 or more), is dropped. No source under a non-commercial licence is used. Takes a few minutes,
and some more where MiniLM's vectors are not in the cache. `python -m scripts.shipped` measures what comes out and
writes its card.
"""

# ruff: noqa: E402 - threads are limited before NumPy is imported: another number of them adds up in another order

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from prefroute.benchmarks import load_benchmark
from prefroute.checkpoint import save_checkpoint
from prefroute.data import PromptKeys, contamination, read_columns
from prefroute.embed import open_embedder
from prefroute.policy import Threshold
from prefroute.prompts import is_train_half
from prefroute.routers.experts import Experts
from prefroute.settings import cache_dir
from prefroute.types import Mixture, Outcomes, Source

BENCHMARKS = ("mmlu", "gsm8k", "routerbench", "mmlu-pro")
PAIR_SOURCES = ("zeroeval", "bfcl_v1", "arena_bench_v1")
STRONG_SHARE = 0.5  # of the threshold that is kept beside the router
SHARES = tuple(round(0.05 * i, 2) for i in range(1, 20))
RULES = ("exact", "stem", "ngram", "cosine", "any")  # by which a row matches a question that is kept for evaluation


@dataclass(frozen=True)
class Part:
    """A source with what the model card says of it; `dropped` counts the rows of the train half that a rule found."""

    source: Source
    pair: str
    licence: str
    dropped: Mapping[str, int]


def main() -> None:
    """Train, save, and say what was used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    args = parser.parse_args()
    print(f"{args.out}: {train(args.data, args.out)}")


def train(data: Path, out: Path) -> Mixture:
    """Save the router, and return what it was trained on."""
    parts = training_parts(data)
    mixture = Mixture(tuple(part.source for part in parts))
    router = Experts("strong", "weak", open_embedder("static"), bits=15, folds=5).fit(mixture)
    thresholds = _thresholds(router, mixture)
    save_checkpoint(
        router,
        out,
        training=PromptKeys.of(mixture.prompts),
        training_data=[_entry(part) for part in parts],
        metrics={"thresholds": thresholds},
        policy=Threshold(thresholds[str(STRONG_SHARE)]),
        licence="Apache-2.0",
    )
    return mixture


def training_parts(data: Path) -> list[Part]:
    """The train half of every source, without what matches a question that is kept for evaluation."""
    loaded = {name: load_benchmark(name, data) for name in BENCHMARKS}
    held_out = [p for b in loaded.values() for p in b.outcomes.prompts if not is_train_half(p)]
    held_out += load_benchmark("mt-bench", data).outcomes.prompts
    parts = []
    for name, benchmark in loaded.items():
        pair = benchmark.outcomes.select([benchmark.strong, benchmark.weak])
        table = Outcomes(pair.prompts, ("strong", "weak"), pair.quality)
        parts.append(_part(name, table, f"{benchmark.strong} against {benchmark.weak}", benchmark.licence))
    return _apart([*parts, *_pair_parts(data)], held_out)


def _apart(parts: Sequence[Part], held_out: Sequence[str]) -> list[Part]:
    """Without what matches a held-out question. An evaluation may ask what went: what matches that goes too."""
    embedder = open_embedder("minilm", cache_dir=cache_dir())
    prompts = [prompt for part in parts for prompt in part.source.data.prompts]
    vectors = embedder.encode(prompts)
    matched = {rule: np.zeros(len(prompts), dtype=np.bool_) for rule in RULES}
    kept, asked, asked_vectors = np.arange(len(prompts)), held_out, embedder.encode(held_out)
    while len(asked):
        found = contamination([prompts[i] for i in kept], PromptKeys.of(asked), asked_vectors, vectors[kept])
        for rule, rows in matched.items():
            rows[kept] = getattr(found, rule)
        gone, kept = kept[found.any], kept[~found.any]
        asked, asked_vectors = [prompts[i] for i in gone], vectors[gone]
    ends = np.cumsum([len(part.source.data) for part in parts])[:-1]
    by_part = {rule: np.split(rows, ends) for rule, rows in matched.items()}
    return [
        replace(
            part,
            source=replace(part.source, data=part.source.data.take(~by_part["any"][i])),
            dropped={rule: int(by_part[rule][i].sum()) for rule in RULES},
        )
        for i, part in enumerate(parts)
    ]


def _thresholds(router: Experts, mixture: Mixture) -> dict[str, float]:
    """Strong share -> the win rate above which that share of the training prompts lies, every source the same."""
    rates = [router.win_rate(source.data.prompts) for source in mixture.sources]
    share = np.concatenate([np.full(len(rate), 1 / len(rate)) for rate in rates])
    found = np.concatenate(rates)
    order = np.argsort(-found)
    above = np.cumsum(share[order]) / share.sum()
    return {str(wanted): float(found[order][np.searchsorted(above, wanted)]) for wanted in SHARES}


def _part(name: str, table: Outcomes, pair: str, licence: str) -> Part:
    """The train half of a table."""
    is_train = np.array([is_train_half(prompt) for prompt in table.prompts])
    return Part(Source(name, table.take(is_train), "strong", "weak"), pair, licence, {})


def _pair_parts(data: Path) -> list[Part]:
    """The sources of `strong_weak_pairs` that may train weights and are not a benchmark's own rows."""
    names = ("source", "prompt", "strong_model", "weak_model", "strong_score", "weak_score", "metric", "licence")
    rows = read_columns(data / "strong_weak_pairs" / "pairs.parquet", [*names, "overlaps_routellm_eval"])
    is_judge = np.array(["1-10" in metric for metric in rows["metric"]])
    scores = np.stack([rows["strong_score"], rows["weak_score"]], axis=1).astype(np.float64)
    quality = np.where(is_judge[:, None], (scores - 1) / 9, scores)
    free = ~rows["overlaps_routellm_eval"].astype(bool)
    parts = []
    for name in PAIR_SOURCES:
        chosen = np.flatnonzero((rows["source"] == name) & free)
        table = Outcomes([rows["prompt"][i] for i in chosen], ("strong", "weak"), quality[chosen])
        pairs = {f"{rows['strong_model'][i]} against {rows['weak_model'][i]}" for i in chosen}
        licences = {str(rows["licence"][i]) for i in chosen}
        parts.append(_part(name, table, "; ".join(sorted(pairs)), "; ".join(sorted(licences))))
    return parts


def _entry(part: Part) -> dict[str, object]:
    """What the model card says of a source; its hash covers the prompts and labels that were used."""
    data = part.source.data
    assert isinstance(data, Outcomes)
    digest = hashlib.sha256()
    for prompt in data.prompts:
        digest.update(hashlib.sha256(prompt.encode("utf-8", "replace")).digest())
    digest.update(np.ascontiguousarray(data.quality).tobytes())
    return {
        "name": f"{part.source.name}, train half ({part.pair})",
        "sha256": digest.hexdigest(),
        "rows": len(data),
        "dropped": dict(part.dropped),
        "mean_win_rate": round(float((1 + data.quality[:, 0] - data.quality[:, 1]).mean() / 2), 4),
        "licence": part.licence,
    }


if __name__ == "__main__":
    main()
