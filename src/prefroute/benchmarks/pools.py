"""Benchmarks with a pool of models: RouterBench, MMLU-Pro, and human votes on MT-Bench."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefroute.benchmarks.base import Benchmark, Unit
from prefroute.benchmarks.files import first_existing, observed_pair, pivot
from prefroute.data import load, read_columns
from prefroute.errors import DataError
from prefroute.types import Outcomes

__all__ = ["load_mmlu_pro", "load_mt_bench_human", "load_routerbench"]

_HOW = {
    "routerbench": "Make prompts.parquet and outcomes_long.parquet from withmartian/routerbench (docs: data formats).",
    "mmlu-pro": "Make questions.parquet and outcomes_long.parquet from TIGER-AI-Lab/MMLU-Pro (docs: data formats).",
    "mt-bench-human": "Make questions.parquet and human_votes.parquet from lmsys/mt_bench_human_judgments (docs: data "
    "formats).",
}


def load_routerbench(data_dir: Path, strong: str | None = None, weak: str | None = None) -> Benchmark:
    """RouterBench's ARC-challenge, MBPP and Winogrande: 3,164 questions, 11 models, correctness and cost in USD.

    The prompt is the final question without the few-shot examples; subjects are the three test sets. The default pair
    is the best model and a good one at a twentieth of its cost.
    """
    folder = first_existing("routerbench", data_dir, ["routerbench_routerdc_subset"], _HOW["routerbench"])
    asked = read_columns(folder / "prompts.parquet", ["sample_id", "prompt_last", "eval_name"])
    answers = read_columns(folder / "outcomes_long.parquet", ["sample_id", "model", "score", "cost"])
    names, quality = pivot(answers["sample_id"], answers["model"], answers["score"], asked["sample_id"])
    _, cost_usd = pivot(answers["sample_id"], answers["model"], answers["cost"], asked["sample_id"])
    pair = (strong or "gpt-4-1106-preview", weak or "mistralai/mixtral-8x7b-chat")
    kept = observed_pair(quality, names, *pair)
    return Benchmark(
        name="routerbench",
        outcomes=Outcomes([str(asked["prompt_last"][i]) for i in kept], names, quality[kept], cost_usd[kept]),
        strong=pair[0],
        weak=pair[1],
        source="withmartian/routerbench, by way of github.com/shuhao02/RouterDC",
        licence="no licence file (scores on public test sets)",
        subjects=tuple(str(asked["eval_name"][i]) for i in kept),
        n_left_out=len(quality) - len(kept),
    )


def load_mmlu_pro(data_dir: Path, strong: str | None = None, weak: str | None = None) -> Benchmark:
    """The 5,222 MMLU-Pro questions that are not MMLU test questions, 33 models, 5-shot correctness; has subjects.

    The default pair is that of the strong-weak pairs: a GPT-4-class and a Mixtral-class model. Other pairs may leave
    out questions that were not observed for them.
    """
    folder = first_existing("mmlu-pro", data_dir, ["mmlu_pro_multi"], _HOW["mmlu-pro"])
    asked = read_columns(folder / "questions.parquet", ["question_id", "prompt", "category", "src"])
    clean = np.flatnonzero([not str(src).startswith("ori_mmlu") for src in asked["src"]])
    answers = read_columns(folder / "outcomes_long.parquet", ["question_id", "model", "correct"])
    correct = answers["correct"].astype(np.float64)
    names, quality = pivot(answers["question_id"], answers["model"], correct, asked["question_id"][clean])
    pair = (strong or "gpt-4o-2024-05-13", weak or "Mixtral-8x7B-Instruct-v0.1")
    kept = observed_pair(quality, names, *pair)
    rows = clean[kept]
    return Benchmark(
        name="mmlu-pro",
        outcomes=Outcomes([str(asked["prompt"][i]) for i in rows], names, quality[kept]),
        strong=pair[0],
        weak=pair[1],
        source="github.com/TIGER-AI-Lab/MMLU-Pro",
        licence="Apache-2.0",
        subjects=tuple(str(asked["category"][i]) for i in rows),
        n_left_out=len(asked["src"]) - len(rows),
        notes=("questions taken over from MMLU are left out; an unparsed answer counts as wrong",),
    )


def load_mt_bench_human(data_dir: Path, strong: str | None = None, weak: str | None = None) -> Benchmark:
    """Human votes on MT-Bench: the share of a question's votes that each of the pair won, ties half.

    Few votes stand behind each question, so the quality of one question is coarse. Six models; the default pair is
    gpt-4 and gpt-3.5-turbo.
    """
    folder = first_existing("mt-bench-human", data_dir, ["mt_bench_human_judgments"], _HOW["mt-bench-human"])
    votes = load(folder / "human_votes.parquet", table="battles")
    pair = (strong or "gpt-4", weak or "gpt-3.5-turbo")
    prompts = sorted(set(votes.prompts))
    row_of = {prompt: i for i, prompt in enumerate(prompts)}
    won, cast = np.zeros(len(prompts)), np.zeros(len(prompts))
    for i, prompt in enumerate(votes.prompts):
        names = (votes.models[votes.model_a[i]], votes.models[votes.model_b[i]])
        if set(names) == set(pair):
            won[row_of[prompt]] += votes.outcome[i] if names[0] == pair[0] else 1 - votes.outcome[i]
            cast[row_of[prompt]] += 1
    kept = np.flatnonzero(cast)
    if not kept.size:
        raise DataError(f"No vote is between {pair[0]!r} and {pair[1]!r}. Models: {', '.join(votes.models)}.")
    share = won[kept] / cast[kept]
    return Benchmark(
        name="mt-bench-human",
        outcomes=Outcomes([prompts[i] for i in kept], pair, np.column_stack([share, 1 - share])),
        strong=pair[0],
        weak=pair[1],
        source="MT-Bench human judgments (lmsys)",
        licence="CC BY 4.0",
        unit=Unit(0.0, 100.0, "percent of votes"),
        n_left_out=len(prompts) - len(kept),
        notes=(f"{int(cast.sum())} votes of the pair",),
    )
