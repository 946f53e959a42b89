"""Which tables there are and which rows each has. Rows, kinds and settings were fixed before the figures were seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scripts.results.overhead import overhead
from scripts.results.rows import (
    BOTH,
    OTHERS,
    OWN,
    QUESTIONS,
    SHIPPED,
    Row,
    Setting,
    Wanted,
    add,
    compute,
    identity,
    is_kept,
    read,
    write,
)
from scripts.results.similarity import similarity
from scripts.results.sources import HUMAN_PAIRS, Data

from prefroute.evaluate import Folds, Gold

__all__ = ["EVALUATIONS", "TABLES", "fill"]

_SEEDS = (0, 1, 2, 3, 4)
_KINDS = ("linear", "knn", "sw_ranking", "mf")

_IN_DOMAIN = (
    *(Wanted(kind, OWN, "minilm", _SEEDS) for kind in _KINDS),
    *(Wanted(kind, OWN, "static", _SEEDS) for kind in _KINDS[:3]),
    Wanted("ensemble", OWN, "minilm", _SEEDS),
)
_ELSEWHERE = (
    *(Wanted(kind, OTHERS, "minilm") for kind in _KINDS),
    *(Wanted(kind, OTHERS, "static") for kind in ("knn", "sw_ranking")),
    Wanted("experts", OTHERS, "minilm"),
)
_SHIPPED = (Wanted("default", SHIPPED, "static"),)


EVALUATIONS: dict[str, tuple[Setting, ...]] = {
    "mmlu": (Setting("mmlu", (*_IN_DOMAIN, Wanted("experts", BOTH, "minilm", _SEEDS)), Gold(1531)),),
    # nine minutes a seed: fitted on 28,000 rows once for each fold
    "gsm8k": (Setting("gsm8k", (*_IN_DOMAIN, Wanted("experts", BOTH, "minilm", (0, 1))), Folds(5)),),
    "elsewhere": tuple(Setting(name, _ELSEWHERE) for name in ("mt-bench", "mmlu", "gsm8k")),
    "generalisation": tuple(Setting("mt-bench-human", _ELSEWHERE, pair=pair) for pair in HUMAN_PAIRS),
    "shipped": tuple(Setting(name, _SHIPPED) for name in ("mmlu", "gsm8k", "mt-bench", "routerbench", "mmlu-pro")),
}
"""The tables that evaluate routers."""

_OTHERS: dict[str, Callable[[Data], list[Row]]] = {"similarity": similarity, "overhead": overhead}

TABLES = (*EVALUATIONS, *_OTHERS)


def fill(name: str, data: Data, path: Path, *, fresh: bool, progress: Callable[[int, int], None]) -> None:
    """Compute what a table lacks; the file is written after every run, so that an interrupted one is taken up again.

    Args:
        name: One of TABLES.
        data: The data folder.
        path: The table's JSON file.
        fresh: Compute what is there, too.
        progress: Called with (runs done, runs wanted).
    """
    rows = [] if fresh else read(path)
    if name in _OTHERS:
        embedders = {None, *(data.embedder(spec).id for spec in ("minilm", "static"))}
        if not rows or any(row["data_sha256"] != data.sha256() or row["embedder"] not in embedders for row in rows):
            write(path, _OTHERS[name](data))
        return
    runs = list(_runs(EVALUATIONS[name]))
    for done, (setting, wanted, seed) in enumerate(runs):
        progress(done, len(runs))
        if not is_kept(rows, identity(data, setting, wanted), seed):
            for row in compute(data, setting, wanted, seed):
                if row["role"] == "router" or wanted == setting.wanted[0]:
                    add(rows, row)
            write(path, rows)
    write(path, _in_order(rows, EVALUATIONS[name], data))


def _runs(settings: Sequence[Setting]) -> Iterator[tuple[Setting, Wanted, int]]:
    for setting in settings:
        for wanted in setting.wanted:
            for seed in wanted.seeds:
                yield setting, wanted, seed


def _in_order(rows: Sequence[Row], settings: Sequence[Setting], data: Data) -> list[Row]:
    """The rows as the tables list them, each set of questions with its baselines last; what is not wanted goes."""
    ordered: list[Row] = []
    for setting in settings:
        wanted = [identity(data, setting, one) for one in setting.wanted]
        baselines = {key: value for key, value in wanted[0].items() if key in QUESTIONS} | {"trained_on": None}
        for one in (*wanted, baselines):
            ordered += [row for row in rows if all(row[key] == value for key, value in one.items())]
    return ordered
