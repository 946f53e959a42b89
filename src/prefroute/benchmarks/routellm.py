"""MMLU, GSM8K and MT-Bench with the outcomes that RouteLLM publishes.

Read from the data folder (`routellm_benchmarks/*.parquet`), or from a copy of RouteLLM's repository or of its folder
`routellm/evals`. The questions that the paper's decontamination removes are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from prefroute.benchmarks.base import PERCENT, Benchmark, Unit
from prefroute.benchmarks.files import first_existing, pivot
from prefroute.data import read_columns
from prefroute.types import FloatArray, Outcomes

__all__ = ["JUDGE_SCORE", "load_gsm8k", "load_mmlu", "load_mt_bench"]

STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"
_WEAK_IN_FILES = "mistralai/Mixtral-8x7B-Instruct-v0.1"  # how the files at RouteLLM's last commit spell WEAK
JUDGE_SCORE = Unit(1.0, 10.0, "judge score")

_SOURCE = "github.com/lm-sys/RouteLLM, routellm/evals"
_HOW = (
    "Get them with: prefroute data fetch routellm-benchmarks (or name a clone's folder routellm/evals, or bring "
    "routellm_benchmarks/*.parquet)."
)


def load_mmlu(data_dir: Path, strong: str | None = None, weak: str | None = None) -> Benchmark:
    """MMLU test questions, 5-shot outcomes; 14,042 questions, 14,037 after decontamination; has subjects."""
    path = _find("mmlu", data_dir, "mmlu.parquet", "mmlu/responses")
    if path.is_dir():
        files = sorted(path.glob("mmlu_*.csv"))
        parts = [_published(file) for file in files]
        table = {name: np.concatenate([part[name] for part in parts]) for name in ("prompt", STRONG, WEAK)}
        names = [file.stem.removeprefix("mmlu_") for file in files]
        subjects: Sequence[str] = np.repeat(names, [len(part["prompt"]) for part in parts]).tolist()
        contaminated = np.isin(table["prompt"], _contaminated_prompts(path.parent))
    else:
        table = read_columns(path, ["prompt", STRONG, WEAK, "subject", "contaminated"])
        subjects, contaminated = table["subject"].tolist(), _flags(table["contaminated"])
    return _correctness("mmlu", table, contaminated, "MIT (questions), Apache-2.0 (outcomes)", strong, weak, subjects)


def load_gsm8k(data_dir: Path, strong: str | None = None, weak: str | None = None) -> Benchmark:
    """GSM8K test questions, 8-shot outcomes; 1,319 questions, 1,307 after decontamination."""
    path = _find("gsm8k", data_dir, "gsm8k.parquet", "gsm8k/gsm8k_responses.csv")
    if path.suffix == ".csv":
        table = _published(path)
        contaminated = np.isin(table["prompt"], _contaminated_prompts(path.parent))
    else:
        table = read_columns(path, ["prompt", STRONG, WEAK, "contaminated"])
        contaminated = _flags(table["contaminated"])
    return _correctness("gsm8k", table, contaminated, "MIT (questions), Apache-2.0 (outcomes)", strong, weak)


def load_mt_bench(data_dir: Path, strong: str | None = None, weak: str | None = None) -> Benchmark:
    """MT-Bench, judged 1-10 by GPT-4; 80 questions, 72 after decontamination.

    The prompt is turn 1; a question's quality is the mean of its two turns.
    """
    path = _find("mt-bench", data_dir, "mt_bench.parquet", "mt_bench/judgements.jsonl")
    prompts, models, scores, contaminated = _judgements(path) if path.suffix == ".jsonl" else _judged_table(path)
    kept = np.flatnonzero(~contaminated)
    return Benchmark(
        name="mt-bench",
        outcomes=Outcomes([str(prompts[i]) for i in kept], models, (scores[kept] - 1) / 9),
        strong=strong or STRONG,
        weak=weak or WEAK,
        source=_SOURCE,
        licence="Apache-2.0",
        unit=JUDGE_SCORE,
        n_left_out=int(contaminated.sum()),
        notes=("72 questions: differences under about 0.1 APGR mean nothing",),
    )


def _published(file: Path) -> dict[str, npt.NDArray[Any]]:
    """Prompts and outcomes of one of RouteLLM's CSV files, whichever way it spells the weak model."""
    with file.open(encoding="utf-8") as lines:
        weak = _WEAK_IN_FILES if _WEAK_IN_FILES in lines.readline() else WEAK
    table = read_columns(file, ["prompt", STRONG, weak])
    return {"prompt": table["prompt"], STRONG: table[STRONG], WEAK: table[weak]}


def _judged_table(path: Path) -> tuple[npt.NDArray[Any], tuple[str, ...], FloatArray, npt.NDArray[np.bool_]]:
    columns = [f"{model}_turn{turn}" for model in (STRONG, WEAK) for turn in (1, 2)]
    table = read_columns(path, ["turn1", "contaminated", *columns])
    turns = np.column_stack([table[name].astype(np.float64) for name in columns])
    scores = turns.reshape(len(turns), 2, 2).mean(axis=2)  # (n, models, turns) -> (n, models)
    return table["turn1"], (STRONG, WEAK), scores, _flags(table["contaminated"])


def _judgements(path: Path) -> tuple[npt.NDArray[Any], tuple[str, ...], FloatArray, npt.NDArray[np.bool_]]:
    """FastChat's files: question.jsonl and one judgement for each question, model and turn."""
    questions = first_existing("mt-bench", path.parent, ["question.jsonl"], _HOW)
    asked = read_columns(questions, ["question_id", "turns"])
    turns = [_turns(value) for value in asked["turns"]]
    judged = read_columns(path, ["question_id", "model", "turn", "score"])
    tables = []
    for turn in ("1", "2"):
        rows = np.flatnonzero(judged["turn"].astype(str) == turn)
        values = judged["score"][rows].astype(np.float64)
        ids = judged["question_id"][rows].astype(str)
        models = np.where(judged["model"][rows] == _WEAK_IN_FILES, WEAK, judged["model"][rows])
        names, table = pivot(ids, models, values, asked["question_id"].astype(str))
        tables.append(table)
    bad = _contaminated_prompts(path.parent)
    contaminated = np.array([bool(set(texts) & set(bad)) for texts in turns], dtype=np.bool_)
    return np.array([texts[0] for texts in turns], dtype=object), names, (tables[0] + tables[1]) / 2, contaminated


def _correctness(
    name: str,
    table: dict[str, npt.NDArray[Any]],
    contaminated: npt.NDArray[np.bool_],
    licence: str,
    strong: str | None,
    weak: str | None,
    subjects: Sequence[str] | None = None,
) -> Benchmark:
    kept = np.flatnonzero(~contaminated)
    quality = np.column_stack([_flags(table[model])[kept] for model in (STRONG, WEAK)]).astype(np.float64)
    return Benchmark(
        name=name,
        outcomes=Outcomes([str(table["prompt"][i]) for i in kept], (STRONG, WEAK), quality),
        strong=strong or STRONG,
        weak=weak or WEAK,
        source=_SOURCE,
        licence=licence,
        unit=PERCENT,
        subjects=None if subjects is None else tuple(subjects[i] for i in kept.tolist()),
        n_left_out=int(contaminated.sum()),
    )


def _find(name: str, data_dir: Path, parquet: str, published: str) -> Path:
    places = [f"routellm_benchmarks/{parquet}", parquet, published, f"evals/{published}", f"routellm/evals/{published}"]
    return first_existing(name, data_dir, places, _HOW)


def _contaminated_prompts(folder: Path) -> list[str]:
    """RouteLLM's list of contaminated prompts beside the responses."""
    file = first_existing(folder.name, folder, ["contaminated_prompts.jsonl"], _HOW)
    return [str(prompt) for prompt in read_columns(file, ["eval_prompt"])["eval_prompt"]]


def _turns(value: Any) -> list[str]:
    """The turns of a question: a JSON list that came as text."""
    return [str(turn) for turn in orjson.loads(value)]


def _flags(column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Booleans from booleans or from the words of a CSV file."""
    if column.dtype == np.bool_:
        return column
    return np.array([str(value).strip().lower() in ("true", "1", "1.0") for value in column], dtype=np.bool_)
