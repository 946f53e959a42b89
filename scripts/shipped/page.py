"""docs/shipped-router.md and the package's card, from the JSON and nothing else, so that they cannot disagree.

The doors are `page`, `card_notes` and `card_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from scripts.shipped.diagram import LEAST

__all__ = ["card_metrics", "card_notes", "page"]

_Found: TypeAlias = Mapping[str, Any]

_TITLES = {
    "mmlu": "MMLU",
    "gsm8k": "GSM8K",
    "routerbench": "RouterBench",
    "mmlu-pro": "MMLU-Pro",
    "mt-bench": "MT-Bench",
}
_WAYS = ("as it is", "numbers", "outcomes", "one-sided", "own labels", "length")
_NONE = "–"  # noqa: RUF001 - an en dash is what tables use for "none"
_ABOUT = (
    "A difficulty estimate from gold labels of a GPT-4-class and a Mixtral-class model, an expert for each source. "
    "Trained on exam questions, school maths, common sense, puzzles, short programs, function calls and a few hundred "
    "chat prompts; `novelty(prompts)` is near 1 for other text, whose score stays close to the mean win rate of the "
    "sources and is a guess. Calibrate it on your own prompts before you trust its threshold."
)


def page(found: _Found, rivals: _Found) -> str:
    """The page in docs.

    Args:
        found: Figures of `python -m scripts.shipped`.
        rivals: Figures of `python -m scripts.shipped.rivals`.
    """
    picture = "![Observed against predicted win rate on each benchmark](img/reliability.svg)\n\n"
    parts = [
        "# The shipped router",
        "Made by `python -m scripts.shipped` from [its figures](shipped-router.json); a test compares the two. The "
        "[model card](../src/prefroute/default/README.md) in the package holds the same, and every threshold.",
        _ABOUT,
        "## Training data\n\n" + _training(found),
        "## On questions that it was not trained on\n\n" + _held_out(found),
        "## Beside routers with MiniLM and torch\n\n" + _rivals(rivals),
        "## Calibration\n\n" + picture + _calibration(found),
        "## What a threshold costs and recovers\n\n" + _thresholds(found),
        "## Other models\n\n" + _transfer(found),
        "## Limits\n\n" + _limits(found),
        "## Make it yours\n\n" + _yours(),
        "## Build it again\n\n" + _rebuild(),
    ]
    return "\n\n".join(parts) + "\n"


def card_notes(found: _Found) -> str:
    """What stands under the title of the package's card; training data and single figures have their place there."""
    parts = [
        _ABOUT,
        "## Task by task\n\n" + _tasks(found),
        "## Calibration\n\n" + _calibration(found),
        "## What a threshold costs and recovers\n\n" + _thresholds(found),
        "## Other models\n\n" + _transfer(found),
        "## What it does badly\n\n" + _limits(found),
        "## Make it yours\n\n" + _yours(),
        "## Build it again\n\n" + _rebuild(),
    ]
    return "\n\n".join(parts)


def card_metrics(found: _Found) -> dict[str, str]:
    """A line for each benchmark."""
    return {
        f"APGR on {part['benchmark']}, {part['n']} held-out questions": (
            f"{_figure(part['apgr'])}; length {_figure(part['length'])}; minus length "
            f"{_figure(part['minus_length'], signed=True)}; random 0.5"
        )
        for part in found["held_out"]
    }


def _training(found: _Found) -> str:
    rows = [[entry["name"], f"{entry['rows']:,}", entry["licence"]] for entry in found["training_data"]]
    return (
        "A prompt is of the train half if the first byte of its hash is even; the other halves are for evaluation, for "
        "good. What matches a question of an evaluation half or of MT-Bench by text, stem or n-grams was dropped.\n\n"
        + _table([["source", "rows", "licence"], *rows])
    )


def _held_out(found: _Found) -> str:
    rows = []
    for part in found["held_out"]:
        models = f"{part['strong']} {part['strong_quality']:.2f} / {part['weak']} {part['weak_quality']:.2f}"
        shares = [_figure(part[key], percent=True) for key in ("cpt50", "cpt80")]
        apgr = [_figure(part["apgr"]), _figure(part["length"]), _figure(part["minus_length"], signed=True)]
        rows.append([_TITLES[part["benchmark"]], models, f"{part['n']:,}", f"{part['n_left_out']:,}", *apgr, *shares])
    head = ["benchmark", "strong / weak", "n", "left out", "APGR", "length", "minus length", "CPT50 %", "CPT80 %"]
    return (
        "`prefroute evaluate default --benchmark NAME --data DIR` gives each row. Brackets hold 95% intervals over "
        "2,000 resamples of the questions; random has an APGR of 0.5; *minus length* is the paired difference to "
        "sending longer prompts to the strong model.\n\n" + _table([head, *rows]) + "\n\n" + _tasks(found)
    )


def _tasks(found: _Found) -> str:
    rows = [
        [_TITLES[part["benchmark"]], task["task"], f"{task['n']:,}", _figure(task["apgr"])]
        for part in found["held_out"]
        for task in part["tasks"]
    ]
    tasks = [task for part in found["held_out"] for task in part["tasks"]]
    above = sum((task["apgr"][1] or 0.0) > 0.5 for task in tasks)
    below = sum((task["apgr"][2] or 1.0) < 0.5 for task in tasks)
    return (
        f"Task by task, where a benchmark is a pool of them: of {len(tasks)} intervals {above} lie above 0.5 and "
        f"{below} below it. Much of a pooled figure is telling tasks apart.\n\n"
        + _table([["benchmark", "task", "n", "APGR"], *rows])
    )


def _rivals(rivals: _Found) -> str:
    routers = rivals["routers"]
    others = sorted(rivals["cpu_s"], key=lambda name: -routers[name]["mean"][0])
    rows = []
    for name in ("default", *others):
        figures = [f"{routers[name][benchmark][0]:.3f}" for benchmark in _TITLES]
        minutes = f"{rivals['cpu_s'][name] / 60:.1f}" if name in others else ""
        apart = _figure(routers[name]["shipped_minus"], signed=True) if name in others else ""
        rows.append([f"`{name}`", minutes, *figures, _figure(routers[name]["mean"]), apart])
    head = ["router", "CPU minutes to train", *_TITLES.values(), "mean of the five", "shipped minus it"]
    return (
        "What the small embedder costs: each kind trained once, with the settings that it comes with, on the same "
        f"{rivals['train_n']:,} rows with `{rivals['embedder']}`, and asked the same held-out questions. `linear` and "
        "`experts` are told the sources apart, the others get one table; `ensemble` and `mf` are trained with torch. "
        "APGR; the mean counts each benchmark the same, and its intervals are over resamples of the questions, paired "
        "in the last column; no second training, so they leave out its luck. By hand: "
        "`python -m scripts.shipped.rivals` ([figures](shipped-router-rivals.json)).\n\n" + _table([head, *rows])
    )


def _calibration(found: _Found) -> str:
    rows = []
    for part in found["held_out"]:
        values = part["calibration"]
        figures = [f"{values[key]:.3f}" for key in ("predicted", "observed", "ece")]
        briers = [f"{values[key]:.4f}" for key in ("brier", "brier_of_mean")]
        rows.append([_TITLES[part["benchmark"]], f"{part['n']:,}", *figures, *briers])
    head = ["benchmark", "n", "mean win rate", "observed", "ECE", "Brier", "Brier of the mean"]
    bins = []
    for part in found["held_out"]:
        for point in part["calibration"]["bins"]:
            if point["n"] >= LEAST:
                cells = [f"{point['predicted']:.3f}", f"{point['observed']:.3f}"]
                bins.append([_TITLES[part["benchmark"]], f"{point['n']:,}", *cells])
    return (
        "The win rate is P(strong preferred), ties half, so `2 * win rate - 1` is the expected gain in quality. On "
        "the same held-out questions, in 20 bins of equal width. *Brier of the mean* is that of predicting the "
        "benchmark's own mean everywhere, which no router knows beforehand.\n\n"
        + _table([head, *rows])
        + f"\n\nThe bins, where they hold {LEAST} questions or more:\n\n"
        + _table([["benchmark", "n", "mean win rate", "observed"], *bins])
    )


def _thresholds(found: _Found) -> str:
    parts = [
        "The ready-made thresholds are named for the share of strong calls that they give on the training prompts, "
        "every source counting the same. On one kind of prompt they give another share: a threshold of 0.61 asks for a "
        "gain of 0.22, which few MMLU questions promise and most MMLU-Pro questions do. So calibrate on your own "
        "traffic (`prefroute calibrate`), or read here what a threshold does where. PGR is the share of the gap "
        "between the two models that is recovered; USD are by the paper's cost model, RouterBench's its own."
    ]
    head = ["named", "threshold", "strong calls %", "quality", "PGR", "USD per 1,000 requests"]
    for part in found["held_out"]:
        rows = []
        for at in part["thresholds"]:
            usd = _NONE if at["usd_per_1000"] is None else f"{at['usd_per_1000']:.2f}"
            figures = [_figure(at["strong_share"], percent=True), _figure(at["quality"], digits=2), _figure(at["pgr"])]
            rows.append([f"{float(at['share']):.0%}", f"{at['alpha']:.3f}", *figures, usd])
        models = f"strong {part['strong_quality']:.2f}, weak {part['weak_quality']:.2f}"
        title = f"{_TITLES[part['benchmark']]} ({part['quality_unit']}; {models})"
        parts.append(f"**{title}**\n\n{_table([head, *rows])}")
    return "\n\n".join(parts)


def _transfer(found: _Found) -> str:
    told = found["transfer"]
    parts = [
        "Difficulty carries over to models that played no part in training; where a gain is to be had does not. Below, "
        "pairs of models none of whose answers were labels, on the questions of the held-out halves: the win rate *as "
        "it is*; kind `abilities` on the router's difficulty, from *numbers* (each model's mean quality on "
        f"{told['n_outcomes']} prompts of the train half), from *outcomes* (on these prompts), or from *one-sided* "
        "ones (each prompt answered by one of the two, as a gateway would have it); and for comparison `linear`, "
        "trained on the pair's *own labels* on the whole train half. APGR; the second line of a cell is the range over "
        f"{told['n_draws']} draws of the prompts:"
    ]
    for pool in told["pools"]:
        rows = [
            [f"{pair['strong']} / {pair['weak']}", f"{pair['n']:,}", *(_drawn(pair, way) for way in _WAYS)]
            for pair in pool["named"]
        ]
        every = pool["all"]
        cells = [_spread(every[way]) if way in every else _NONE for way in _WAYS]
        above = [f"{every[way]['above_half']:.0%}" if way in every else _NONE for way in _WAYS]
        label = f"median of all {every['n_pairs']} pairs {told['least_gap']:g} apart (middle 80%)"
        rows += [[label, "", *cells], ["share of these above 0.5", "", *above]]
        parts.append(f"**{_TITLES[pool['benchmark']]}**\n\n" + _table([["pair", "n", *_WAYS], *rows]))
    parts.append(_many(told["many"], told))
    rows = [
        [f"{pair['strong']} / {pair['weak']}", str(pair["n"]), _figure(pair["as it is"]), _figure(pair["length"])]
        for pair in told["voted"]
    ]
    n_better = sum((pair["as it is"][1] or 0.0) > 0.5 for pair in told["voted"])
    parts.append(
        "**MT-Bench by human votes**, the win rate as it is. A question has few votes, and intervals are wide: "
        f"{n_better} of {len(rows)} pairs are shown to be routed better than by chance.\n\n"
        + _table([["pair", "n", "as it is", "length"], *rows])
    )
    return "\n\n".join(parts)


def _many(many: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    rows = []
    for way, label in (("abilities", "`abilities` on this router"), ("knn", "`knn` on the same outcomes")):
        draws = many[f"{way} draws"]
        rows.append([label, f"{_figure(many[way])}<br>{draws[0]:.3f} to {draws[1]:.3f}", _figure(many[f"{way} all"])])
    rows += [[name, _figure(many[name]), ""] for name in ("single models", "oracle")]
    head = ["", f"from {told['n_outcomes']} outcomes of each", f"from all {many['n_train']:,}"]
    return (
        f"**Among all {many['n_models']} models of RouterBench**, by quality and price: AIQ, the mean quality over the "
        f"range of costs, on {many['n']:,} held-out questions; *single models* mixes the models by a coin. The pair "
        "that the router was trained on is among the models.\n\n" + _table([head, *rows])
    )


def _limits(found: _Found) -> str:
    gsm8k = next(part for part in found["held_out"] if part["benchmark"] == "gsm8k")
    chat = next(entry["rows"] for entry in found["training_data"] if entry["name"].startswith("arena"))
    return "\n".join(
        [
            f"- On GSM8K it is no better than prompt length ({_figure(gsm8k['minus_length'], signed=True)}).",
            "- As it is, it scores GPT-4-class against Mixtral-class. For two weak models, or two strong ones, the "
            "questions where the gain lies are others, and it can be worse than chance (tables above). Adapting it "
            "helps most pairs and not all: measure on outcomes that you kept aside.",
            "- English only, nearly: other languages are scored as new text, near the mean.",
            f"- Exam questions dominate. Chat is {chat} prompts of its training data and 72 of its evaluation.",
            "- The choice of its kind has seen the held-out halves of its first versions; the log says when.",
        ]
    )


def _yours() -> str:
    return (
        "From 100 to 300 outcomes of your own models, or from feedback in a gateway's journal, one-sided or not:\n\n"
        "```sh\n"
        "prefroute adapt --data outcomes.parquet --strong big --weak small --out runs/mine\n"
        "prefroute adapt --journal gateway.yaml --strong big --weak small --out runs/mine\n"
        "```\n\n"
        "The result is of kind `abilities`: it keeps this router's difficulty and learns how each of your models copes "
        "with it. With thousands of labelled prompts, train `linear` or `experts` on them instead."
    )


def _rebuild() -> str:
    return (
        "In a checkout, with the data folder; `make default` does both, in some minutes. The first gives the same "
        "bytes each time:\n\n"
        "```sh\n"
        "python scripts/train_default.py --data DIR --out src/prefroute/default\n"
        "python -m scripts.shipped --data DIR\n"
        "```"
    )


def _figure(values: Sequence[float | None], *, percent: bool = False, signed: bool = False, digits: int = 3) -> str:
    """A figure with its interval; no interval where it is undefined."""
    scale, digits = (100, 1) if percent else (1, digits)
    shown = [_NONE if value is None else f"{scale * value:{'+' if signed else ''}.{digits}f}" for value in values]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _drawn(pair: Mapping[str, Any], way: str) -> str:
    """The figure of the first draw, and where there are more, their range."""
    draws = pair.get(f"{way} draws")
    return _figure(pair[way]) if draws is None else f"{_figure(pair[way])}<br>{draws[0]:.3f} to {draws[2]:.3f}"


def _spread(values: Mapping[str, float]) -> str:
    return f"{values['median']:.3f} ({values['p10']:.3f} to {values['p90']:.3f})"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))
