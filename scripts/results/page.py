"""docs/results.md from the JSON files and nothing else, so that page and JSON cannot disagree. The door is `page`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from scripts.results import paper
from scripts.results.evidence import evidence_notes, evidence_rows
from scripts.results.rows import QUESTIONS, Row, read
from scripts.results.similarity import ALL, GOLD

from prefroute.evaluate import figure
from prefroute.prices import MEAN_TOKENS_IN, MEAN_TOKENS_OUT, PRICES

__all__ = ["USD_PER_CORE_HOUR", "page"]

USD_PER_CORE_HOUR = 0.05
"""Assumed. The paper's 8 vCPU at 2.9 requests/s and 39.26 USD per million cost at most 0.051 USD an hour each."""

_TITLES = {
    "mt-bench": "MT-Bench",
    "mmlu": "MMLU",
    "gsm8k": "GSM8K",
    "routerbench": "RouterBench",
    "mmlu-pro": "MMLU-Pro",
}
_PAPER_EMBEDDER = {"MF": "text-embedding-3-small", "SW": "text-embedding-3-small"}
_NONE = "–"  # noqa: RUF001 - an en dash is what tables use for "none"
_HEAD = ("router", "trained on", "embedder", "CPT50 %", "CPT80 %", "APGR", "over seeds", "minus length")
_BRIER_HEAD = ("Brier", "minus prior's")


def page(folder: Path) -> str:
    """The page, from the JSON files in the folder; a table without a file is left out."""
    parts = [_intro(folder)]
    sections: Sequence[tuple[str, str, Callable[[Sequence[Row], Path], str]]] = (
        ("mmlu", "MMLU, trained on 1,531 of its questions", _in_domain),
        ("gsm8k", "GSM8K, five folds", _in_domain),
        ("elsewhere", "Trained elsewhere", _elsewhere),
        ("generalisation", "Other pairs of models, routers not retrained", _generalisation),
        ("shipped", "The shipped router", _shipped),
        ("similarity", "Benchmark-dataset similarity", _similarity),
        ("mmlu", "Cost saving", _cost_saving),
        ("overhead", "Overhead of a decision", _overhead),
    )
    for name, title, write in sections:
        rows = read(folder / f"{name}.json") + evidence_rows(folder / "evidence", name)
        if rows:
            parts.append(f"## {title}\n\n{write(rows, folder)}")
    return "\n\n".join(parts) + "\n"


def _intro(folder: Path) -> str:
    spent = {path.stem: _cpu_s(read(path)) for path in sorted(folder.glob("*.json"))}
    times = ", ".join(f"{name} {cpu_s / 60:.1f}" for name, cpu_s in spent.items())
    intro = Path(__file__).with_name("intro.md").read_text(encoding="utf-8")
    return intro.rstrip().format(times=times, total=sum(spent.values()) / 60)


def _in_domain(rows: Sequence[Row], folder: Path) -> str:
    name = rows[0]["benchmark"]
    notes = evidence_notes(folder / "evidence", name)
    return "\n\n".join([_facts(rows), _evaluations(rows), _of_other_sources(rows), *notes])


def _of_other_sources(rows: Sequence[Row]) -> str:
    """What other sources did to `experts`, seed by seed."""
    mixed = next(row for row in rows if row["router"] == "experts")
    alone = next(row for row in rows if row["router"] == "linear" and row["embedder"] == mixed["embedder"])
    own = {run["seed"]: run["apgr"] for run in alone["runs"]}
    differences = [run["apgr"] - own[run["seed"]] for run in mixed["runs"]]
    return (
        "What other sources do to it: fitted on these questions alone, `experts` is `linear`. With all other sources "
        f"beside them its APGR differs from that by {statistics.fmean(differences):+.3f}, {min(differences):+.3f} to "
        f"{max(differences):+.3f} over its {len(differences)} seeds."
    )


def _elsewhere(rows: Sequence[Row], _: Path) -> str:
    parts = [
        "Routers see every source of the data folder but the one that is asked: MMLU, GSM8K, MT-Bench, and the pairs "
        "of MMLU-Pro, RouterBench, ZeroEval, BFCL, AlpacaEval and Arena, without the rows that match a question by "
        "text, stem, n-grams or a cosine of 0.95 (`static`). `linear` and `experts` are told the sources apart, and "
        "`experts` that all it will be asked is new (`odds` 0); the others get one table. The *prior* predicts the "
        "mean win rate of these sources everywhere, each counting the same; a Brier score above the prior's says that "
        "win rates claim more than is known, whatever their order. The last column is that paired difference."
    ]
    groups = list(_groups(rows, QUESTIONS))
    parts.append(_not_inverted(groups))
    for group in groups:
        brier = _over_runs(group[0], "brier_of_prior")
        prior = f" The prior's Brier score: {brier:.4f}."
        parts += [f"### {_TITLES[group[0]['benchmark']]}", _facts(group) + prior, _evaluations(group)]
    return "\n\n".join(parts)


def _not_inverted(groups: Sequence[Sequence[Row]]) -> str:
    """Which routers nowhere rank worse than at random, as far as the intervals tell."""
    of_router = {_named(row): [row] for row in groups[0] if row["role"] == "router"}
    for row in (row for group in groups[1:] for row in group if _named(row) in of_router):
        of_router[_named(row)].append(row)
    kept = []
    for (kind, _, embedder), same in of_router.items():
        if min(_over_runs(row, "apgr_high") for row in same) >= 0.5:
            spreads = [_over_runs(row, "win_rate_sd") for row in same]
            kept.append(f"`{kind}` ({embedder}; win rates spread by {min(spreads):.3f} to {max(spreads):.3f})")
    return (
        f"Intervals that reach 0.50 in every table: {', '.join(kept) or 'none'}. "
        "All others rank worse than at random in one at least."
    )


def _generalisation(rows: Sequence[Row], _: Path) -> str:
    groups = list(_groups(rows, QUESTIONS))
    head = ["router", "trained on", "embedder", *(f"{group[0]['strong']} / {group[0]['weak']}" for group in groups)]
    body = []
    for row in groups[0]:
        same = [next((other for other in group if _named(other) == _named(row)), None) for group in groups]
        cells = [_NONE if other is None else _mean(other, "apgr") for other in same]
        body.append([row["router"], _trained_on(row), _embedder(row), *cells])
    counts = ", ".join(f"{group[0]['weak']} {group[0]['runs'][0]['n']}" for group in groups)
    papers = [["router", *paper.OTHER_PAIRS]]
    papers += [[name, *(f"{pair[name]:.3f}" for pair in paper.OTHER_PAIRS.values())] for name in _paper_names()]
    return "\n\n".join(
        [
            "APGR on human votes on MT-Bench, of the routers that were trained elsewhere for gpt-4-1106-preview and "
            f"Mixtral and like pairs. Questions: {counts}; a question has few votes, and intervals are wide.",
            _table([head, *body]),
            "The paper's other pairs, on MT-Bench judged by GPT-4, routers trained on D_arena + D_judge:",
            _table(papers),
        ]
    )


def _shipped(rows: Sequence[Row], _: Path) -> str:
    body = []
    for group in _groups(rows, QUESTIONS):
        ours = next(row for row in group if row["role"] == "router")
        length = next(row for row in group if row["router"] == "length")
        run = ours["runs"][0]
        name = _TITLES[ours["benchmark"]]
        figures = [_mean(ours, key, percent=key != "apgr") for key in ("cpt50", "cpt80", "apgr")]
        body.append([name, f"{run['n']:,}", f"{run['n_left_out']:,}", *figures, _mean(length, "apgr")])
    said = f"{rows[0]['trained_on']}, {rows[0]['embedder']}"
    head = ["benchmark", "n", "left out", "CPT50 %", "CPT80 %", "APGR", "length"]
    return (
        f"`default`: {said}. Scored on the questions that neither it nor its embedder was trained on; the "
        "[model card](../src/prefroute/default/README.md) says what that was, and [the log](log.md) what the choice of "
        "its kind has seen. RouterBench and MMLU-Pro have pairs of their own.\n\n" + _table([head, *body])
    )


def _similarity(rows: Sequence[Row], _: Path) -> str:
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    embedders = list(dict.fromkeys(row["embedder"] for row in rows))
    sources = sorted({row["source"] for row in rows}, key=lambda name: (name in (ALL, GOLD), name == GOLD, name))
    found = {(row["source"], row["benchmark"], row["embedder"]): f"{row['similarity']:.3f}" for row in rows}
    columns = [(benchmark, embedder) for embedder in embedders for benchmark in benchmarks]
    head = ["source", *(f"{_TITLES[benchmark]}, {embedder}" for benchmark, embedder in columns)]
    body = [[name, *(found.get((name, *column), _NONE) for column in columns)] for name in sources]
    papers = [["benchmark", "trained on", "similarity"]]
    for benchmark, values in paper.SIMILARITY.items():
        papers += [[_TITLES[benchmark], data, f"{value:.4f}"] for data, value in values.items()]
    return "\n\n".join(
        [
            "S(B, D), the mean over the benchmark's questions of the highest cosine with a training prompt, after what "
            "overlaps the benchmark is gone. Cosines of different embedders cannot be compared.",
            _table([head, *body]),
            "The paper's, with text-embedding-3-small:",
            _table(papers),
        ]
    )


def _cost_saving(_: Sequence[Row], folder: Path) -> str:
    head = ["benchmark", "router", "trained on", "embedder", "at CPT50", "at CPT80", "USD per 1,000 requests at CPT80"]
    body = []
    tables = {"mt-bench": "elsewhere", "mmlu": "mmlu", "gsm8k": "gsm8k"}
    for benchmark, name in tables.items():
        rows = read(folder / f"{name}.json") + evidence_rows(folder / "evidence", name)
        rows = [row for row in rows if row["benchmark"] == benchmark]
        for row in rows:
            if row["role"] == "router":
                cells = [_TITLES[benchmark], row["router"], _trained_on(row), _embedder(row)]
                usd = f"{1000 * _over_runs(row, 'cpt80_cost_usd'):.2f}"
                body.append([*cells, _saving(row, "cpt50", 0.5), _saving(row, "cpt80", 0.8), usd])
        random = next((row for row in rows if row["router"] == "random"), None)
        if random is not None:
            usd = f"{1000 * _over_runs(random, 'cpt80_cost_usd'):.2f}"
            body.append([_TITLES[benchmark], "random", _NONE, _NONE, "1", "1", usd])
        saved = [f"{saving:.2f}" for saving in paper.COST_SAVING[benchmark]]
        body.append([_TITLES[benchmark], "*paper: its best*", "augmented", _NONE, *saved, _NONE])
    strong, weak = PRICES["gpt-4-1106-preview"], PRICES["mixtral-8x7b-instruct-v0.1"]
    return (
        "Random's share of strong calls over the router's at the same quality: how many times fewer calls the strong "
        f"model gets. USD by the paper's cost model: {MEAN_TOKENS_IN} tokens in and {MEAN_TOKENS_OUT} out a request, "
        f"{strong.usd_per_mtok_in:g} / {strong.usd_per_mtok_out:g} USD per million for the strong model, "
        f"{weak.usd_per_mtok_in:g} for the weak one. From the rows above.\n\n" + _table([head, *body])
    )


def _overhead(rows: Sequence[Row], _: Path) -> str:
    body = []
    for row in rows:
        per_s = 1000 / row["cpu_ms"]
        usd = USD_PER_CORE_HOUR * row["cpu_ms"] / 3.6  # per million: 1e6 * ms / 3.6e6 an hour
        cells = [row["router"], row["embedder"] or _NONE, f"{row['train_n']:,}" if row["train_n"] else _NONE]
        body.append([*cells, "one core", f"{per_s:,.0f}", f"{usd:.3f}"])
    for name, (hardware, per_s, usd) in paper.OVERHEAD.items():
        body.append([f"*paper: {name}*", _PAPER_EMBEDDER.get(name, _NONE), _NONE, hardware, f"{per_s:g}", f"{usd:.2f}"])
    head = ["router", "embedder", "prompts trained on", "hardware", "requests/s", "USD per million requests"]
    return (
        f"From text to win rate, one prompt at a time, embedding included, nothing cached: {rows[0]['n']} prompts of "
        f"MT-Bench and MMLU, {rows[0]['mean_bytes']:,} bytes in the mean, by CPU time on {rows[0]['machine']}. USD: "
        f"{USD_PER_CORE_HOUR} an hour for a core, assumed (the paper's 8-vCPU row comes to 0.051 at most); the "
        "paper's rows hold the price of its embedding calls.\n\n" + _table([head, *body])
    )


def _facts(rows: Sequence[Row]) -> str:
    runs = rows[0]["runs"]
    quality = [f"{runs[0][f'{model}_quality']:.2f}" for model in ("strong", "weak")]
    seeds = ", ".join(str(run["seed"]) for run in runs)
    return (
        f"{rows[0]['protocol']}, seeds {seeds}: {_range(run['n'] for run in runs)} questions scored, "
        f"{_range(run['n_left_out'] for run in runs)} left out. Strong {quality[0]}, weak {quality[1]} "
        f"({rows[0]['quality_unit']})."
    )


def _evaluations(rows: Sequence[Row]) -> str:
    """Ours, the best first, then baselines, references and the paper's."""
    routers = sorted(
        (row for row in rows if row["role"] == "router"), key=lambda row: _over_runs(row, "apgr"), reverse=True
    )
    briers = _BRIER_HEAD if any("brier" in row["runs"][0] for row in rows) else ()
    body = []
    for row in (*routers, *(row for row in rows if row["role"] != "router")):
        values = [run["apgr"] for run in row["runs"]]
        spread = f"{min(values):.3f} to {max(values):.3f}" if min(values) < max(values) else ""
        figures = [_mean(row, name, percent=name != "apgr") for name in ("cpt50", "cpt80", "apgr")]
        length = _mean(row, "vs_length", signed=True) if row["role"] == "router" else ""
        name = f"{row['router']} (reference, not a router)" if row["role"] == "reference" else row["router"]
        brier = _brier_cells(row) if "brier" in row["runs"][0] else [""] * len(briers)
        body.append([name, _trained_on(row), _embedder(row), *figures, spread, length, *brier])
    for (name, data), (cpt50, cpt80, apgr) in paper.FIGURES[rows[0]["benchmark"]].items():
        cells = [f"*paper: {name}*", data, _PAPER_EMBEDDER.get(name, _NONE)]
        body.append([*cells, f"{cpt50:.2f}", f"{cpt80:.2f}", f"{apgr:.3f}", "", "", *[""] * len(briers)])
    return _table([[*_HEAD, *briers], *body])


def _brier_cells(row: Row) -> list[str]:
    """The score, and how far it is above the prior's."""
    ends = {f"x{end}": _over_runs(row, f"brier_excess{end}") for end in ("", "_low", "_high")}
    return [f"{_over_runs(row, 'brier'):.4f}", figure(ends, "x", digits=4, signed=True)]


def _mean(row: Row, name: str, *, percent: bool = False, signed: bool = False) -> str:
    """The mean over the runs, and of the ends of their intervals; no interval where a run has none."""
    scale = 100 if percent else 1
    ends = ("_low", "_high") if all(run[f"{name}_low"] is not None for run in row["runs"]) else ()
    cells = {"x_low": None, "x_high": None} | {
        f"x{end}": scale * _over_runs(row, f"{name}{end}") for end in ("", *ends)
    }
    return figure(cells, "x", digits=1 if percent else 3, signed=signed)


def _over_runs(row: Row, name: str) -> float:
    return float(statistics.fmean(run[name] for run in row["runs"]))


def _saving(row: Row, name: str, random: float) -> str:
    """Random's CPT over the router's; random's is exact, so the ends of the interval are those of CPT turned round."""
    ends = {"x": "", "x_low": "_high", "x_high": "_low"}
    return figure({key: random / _over_runs(row, f"{name}{end}") for key, end in ends.items()}, "x", digits=2)


def _cpu_s(rows: Iterable[Row]) -> float:
    return float(sum(part.get("cpu_s", 0.0) for row in rows for part in (row, *row.get("runs", ()))))


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> Iterable[list[Row]]:
    """The rows by the values of some keys, in their order."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups.values()


def _named(row: Row) -> tuple[object, ...]:
    return tuple(row[key] for key in ("router", "trained_on", "embedder"))


def _paper_names() -> list[str]:
    return list(next(iter(paper.OTHER_PAIRS.values())))


def _trained_on(row: Row) -> str:
    if row["trained_on"] is None:
        return _NONE
    counts = _range(run["train_n"] for run in row["runs"])
    return f"{row['trained_on']} ({counts} rows)"


def _embedder(row: Row) -> str:
    return row["embedder"] or _NONE


def _range(values: Iterable[int]) -> str:
    found = list(values)
    low, high = min(found), max(found)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))
