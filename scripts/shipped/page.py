"""docs/shipped-router.md and the package's card, from the JSON and nothing else, so that they cannot disagree.

The doors are `page`, `card_notes` and `card_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any, TypeAlias

from scripts.shipped.diagram import LEAST
from scripts.shipped.markdown import NONE, TITLES, figure, table
from scripts.shipped.others import other_models, other_routers
from scripts.shipped.unlike import unlike

__all__ = ["card_metrics", "card_notes", "page"]

_Found: TypeAlias = Mapping[str, Any]

_BESIDE = {
    "mmlu": (0.675, "0.603, the paper's best: `sw_ranking` from 1,531 MMLU questions and 65,000 votes"),
    "gsm8k": (0.640, "0.622, the paper's best: a causal LLM of 8B parameters, without a GSM8K label"),
    "routerbench": (None, "none is published for this pair"),
    "mmlu-pro": (None, "0.61 [0.59, 0.63], `knn` on MiniLM's vectors, trained on its train half alone"),
    "mt-bench": (
        0.70,
        "0.802, the paper's best: `mf` from 65,000 votes and 120,000 judged answers, without an interval",
    ),
}
"""Benchmark -> the APGR that was aimed at (where None, an interval above 0.5), and the best known elsewhere."""


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
        "[model card](../src/prefroute/default/README.md) in the package holds all of this but the picture and the "
        "routers with MiniLM, and every threshold besides.",
        _about(found),
        "## Training data\n\n" + _training(found),
        "## On questions that it was not trained on\n\n" + _held_out(found),
        "## Beside routers with MiniLM and torch\n\n" + other_routers(rivals),
        "## Text unlike its training data\n\n" + unlike(found),
        "## Calibration\n\n" + picture + _calibration(found),
        "## What a threshold costs and recovers\n\n" + _thresholds(found),
        "## Other models\n\n" + other_models(found),
        "## Limits\n\n" + _limits(found),
        "## Make it yours\n\n" + _yours(),
        "## Build it again\n\n" + _rebuild(),
    ]
    return "\n\n".join(parts) + "\n"


def card_notes(found: _Found) -> str:
    """What stands under the title of the package's card."""
    drawn = "The bins below are drawn in `docs/img/reliability.svg` of the source repository.\n\n"
    parts = [
        _about(found),
        "## What it was trained on\n\n" + _training(found),
        "## On questions that it was not trained on\n\n" + _held_out(found),
        "## Text unlike its training data\n\n" + unlike(found),
        "## Calibration\n\n" + drawn + _calibration(found),
        "## What a threshold costs and recovers\n\n" + _thresholds(found),
        "## Other models\n\n" + other_models(found),
        "## What it does badly\n\n" + _limits(found),
        "## Make it yours\n\n" + _yours(),
        "## Build it again\n\n" + _rebuild(),
    ]
    return "\n\n".join(parts)


def card_metrics(found: _Found) -> dict[str, str]:
    """A line for each benchmark."""
    return {
        f"APGR on {part['benchmark']}, {part['strong']} against {part['weak']}, {part['n']} held-out questions": (
            f"{figure(part['apgr'])}; length {figure(part['length'])}; minus length "
            f"{figure(part['minus_length'], signed=True)}; random 0.5"
        )
        for part in found["held_out"]
    }


def _about(found: _Found) -> str:
    return (
        "A difficulty estimate from gold labels of a GPT-4-class and a Mixtral-class model, an expert for each source. "
        "Trained on exam questions, school maths, common sense, puzzles, short programs, function calls and "
        f"{_n_chat(found)} chat prompts. On other text, most everyday chat included, `novelty(prompts)` is near 1, and "
        "the score stays close to the mean win rate of the sources and is a guess. Calibrate it on your own prompts "
        "before you trust its threshold."
    )


def _n_chat(found: _Found) -> int:
    return next(int(entry["rows"]) for entry in found["training_data"] if entry["name"].startswith("arena"))


def _training(found: _Found) -> str:
    entries = found["training_data"]
    rules = ("stem", "ngram", "cosine", "any")
    rows = [
        [
            entry["name"],
            f"{entry['rows']:,}",
            *(f"{entry['dropped'][rule]:,}" for rule in rules),
            f"{entry['mean_win_rate']:.3f}",
            entry["licence"],
        ]
        for entry in entries
    ]
    sums = [f"{sum(entry['dropped'][rule] for entry in entries):,}" for rule in rules]
    prior = fmean(entry["mean_win_rate"] for entry in entries)
    rows.append(["all", f"{sum(entry['rows'] for entry in entries):,}", *sums, f"{prior:.3f}", ""])
    head = ["source", "rows", "dropped: stem", "n-grams", "embedding", "any", "mean win rate", "licence"]
    return (
        "**Protocol.** A prompt is of the train half if the first byte of its hash (SHA-256 of its normalised text) is "
        "even; the other halves are for evaluation, for good, and all of MT-Bench is. A row of a train half was "
        "dropped where it matches a question that is kept for evaluation: by its text (no row did), by its stem, by "
        "half of its sampled n-grams, or by a cosine of 0.95 or more of all-MiniLM-L6-v2's vectors. What matches a "
        "dropped row went too. The last row's mean win rate counts each source the same: it is the *prior*.\n\n"
        + table([head, *rows])
        + "\n\nThe static embedding under it was distilled from all-MiniLM-L6-v2 (Apache-2.0) without any label."
    )


def _held_out(found: _Found) -> str:
    rows = []
    for part in found["held_out"]:
        models = f"{part['strong']} {part['strong_quality']:.2f} / {part['weak']} {part['weak_quality']:.2f}"
        shares = [figure(part[key], percent=True) for key in ("cpt50", "cpt80")]
        apgr = [figure(part["apgr"]), figure(part["length"]), figure(part["minus_length"], signed=True)]
        rows.append([TITLES[part["benchmark"]], models, f"{part['n']:,}", f"{part['n_left_out']:,}", *apgr, *shares])
    head = ["benchmark", "strong / weak", "n", "not scored", "APGR", "length", "minus length", "CPT50 %", "CPT80 %"]
    pro = next(part for part in found["held_out"] if part["benchmark"] == "mmlu-pro")
    parts = [
        "`prefroute evaluate default --benchmark NAME --data DIR` gives the row; RouterBench and MMLU-Pro need the "
        "folders described in `docs/reference/data-formats.md`, which `data fetch` does not bring. *APGR* is the "
        "average share of the quality gap between the two models that is recovered, over all shares of strong calls: "
        "random has 0.5. *CPT50* and *CPT80* are the shares of strong calls that recover 50% and 80% of the gap. "
        "*Length* sends longer prompts to the strong model; *minus length* is the paired difference. *Not scored* are "
        "questions that were trained on, or left out by the benchmark (MMLU-Pro: 6,810 of "
        f"{pro['n_left_out']:,} are MMLU's own questions). Brackets hold 95% intervals over 2,000 resamples of the "
        "questions; the router is not trained again for them.",
        table([head, *rows]),
        _odd_half(found),
        _without(found),
        _beside(found),
        _tasks(found),
    ]
    return "\n\n".join(parts)


def _odd_half(found: _Found) -> str:
    parts = [part for part in found["held_out"] if part["benchmark"] != "mt-bench"]
    shown = [
        f"{TITLES[part['benchmark']]} {figure(part['odd_half']['apgr'])} on {part['odd_half']['n']:,}" for part in parts
    ]
    return (
        "The command asks the dropped rows of the train halves too, since they were not trained on. APGR on the "
        f"evaluation halves alone: {'; '.join(shown)}."
    )


def _without(found: _Found) -> str:
    part = next(part for part in found["held_out"] if part["without"])
    rest = part["without"]
    return (
        f"**{TITLES[part['benchmark']]} leans on one subject.** `{rest['subject']}` is {part['n'] - rest['n']} "
        "questions of one template, on which the gap between the two models is far above the mean: to know the "
        f"template is to know where to spend. Without it APGR is {figure(rest['apgr'])}, and length has "
        f"{figure(rest['length'])}."
    )


def _beside(found: _Found) -> str:
    rows = []
    for part in found["held_out"]:
        aim, best = _BESIDE[part["benchmark"]]
        value, low, _ = part["apgr"]
        is_reached = low > 0.5 if aim is None else value >= aim
        wanted = "interval above 0.5" if aim is None else f"{aim:.3f}"
        rows.append([TITLES[part["benchmark"]], figure(part["apgr"]), wanted, "yes" if is_reached else "**no**", best])
    n_rows = next(entry["rows"] for entry in found["training_data"] if entry["name"].startswith("mmlu,"))
    return (
        "What was aimed at, and the best known elsewhere. The paper's routers were scored on the whole benchmarks and "
        f"saw less of them: ours learned from {n_rows:,} MMLU questions where the paper's had 1,531 (with 1,531, "
        "`linear` has 0.67), and from GSM8K's own train half.\n\n"
        + table([["benchmark", "APGR", "aim", "reached", "best elsewhere"], *rows])
    )


def _tasks(found: _Found) -> str:
    rows = [
        [TITLES[part["benchmark"]], task["task"], f"{task['n']:,}", figure(task["apgr"])]
        for part in found["held_out"]
        for task in part["tasks"]
    ]
    tasks = [task for part in found["held_out"] for task in part["tasks"]]
    above = sum((task["apgr"][1] or 0.0) > 0.5 for task in tasks)
    below = sum((task["apgr"][2] or 1.0) < 0.5 for task in tasks)
    return (
        f"Task by task, where a benchmark is a pool of them: of {len(tasks)} intervals {above} lie above 0.5 and "
        f"{below} below it. Much of a pooled figure is telling tasks apart.\n\n"
        + table([["benchmark", "task", "n", "APGR"], *rows])
    )


def _calibration(found: _Found) -> str:
    rows = []
    for part in found["held_out"]:
        values = part["calibration"]
        figures = [f"{values[key]:.3f}" for key in ("predicted", "observed", "ece")]
        briers = [f"{values[key]:.4f}" for key in ("brier", "brier_of_mean")]
        rows.append([TITLES[part["benchmark"]], f"{part['n']:,}", *figures, *briers])
    head = ["benchmark", "n", "mean win rate", "observed", "ECE", "Brier", "Brier of the mean"]
    bins = []
    for part in found["held_out"]:
        for point in part["calibration"]["bins"]:
            if point["n"] >= LEAST:
                cells = [f"{point['predicted']:.3f}", f"{point['observed']:.3f}"]
                bins.append([TITLES[part["benchmark"]], f"{point['n']:,}", *cells])
    return (
        "The win rate is P(strong preferred), ties half, so `2 * win rate - 1` is the expected gain in quality. On "
        "the same held-out questions, in 20 bins of equal width. *Brier of the mean* is that of predicting the "
        "benchmark's own mean everywhere, which no router knows beforehand.\n\n"
        + table([head, *rows])
        + f"\n\nThe bins, where they hold {LEAST} questions or more:\n\n"
        + table([["benchmark", "n", "mean win rate", "observed"], *bins])
    )


def _thresholds(found: _Found) -> str:
    default = found["default_threshold"]
    parts = [
        "The ready-made thresholds are named for the share of strong calls that they give on the training prompts, "
        f"every source counting the same. On one kind of prompt they give another share: the default, {default:.3f}, "
        f"asks for a gain of {2 * default - 1:.2f}, which few MMLU questions promise and most MMLU-Pro questions do. "
        "So calibrate on your own traffic (`prefroute calibrate`), or read here what a threshold does where. PGR is "
        "the share of the gap between the two models that is recovered. USD: the paper's prices and mean tokens, so "
        "that an interval is that of the share of strong calls; RouterBench has costs of its own for each question; "
        f"{NONE}: no price of the model in our table."
    ]
    head = ["named", "threshold", "strong calls %", "quality", "PGR", "USD per 1,000 requests"]
    for part in found["held_out"]:
        rows = []
        for at in part["thresholds"]:
            usd = NONE if at["usd_per_1000"][0] is None else figure(at["usd_per_1000"], digits=2)
            figures = [figure(at["strong_share"], percent=True), figure(at["quality"], digits=2), figure(at["pgr"])]
            rows.append([f"{float(at['share']):.0%}", f"{at['alpha']:.3f}", *figures, usd])
        models = f"strong {part['strong_quality']:.2f}, weak {part['weak_quality']:.2f}"
        title = f"{TITLES[part['benchmark']]} ({part['quality_unit']}; {models})"
        parts.append(f"**{title}**\n\n{table([head, *rows])}")
    return "\n\n".join(parts)


def _limits(found: _Found) -> str:
    gsm8k, chat = (
        next(part for part in found["held_out"] if part["benchmark"] == name) for name in ("gsm8k", "mt-bench")
    )
    return "\n".join(
        [
            f"- On GSM8K it is no better than prompt length ({figure(gsm8k['minus_length'], signed=True)}).",
            "- As it is, it scores GPT-4-class against Mixtral-class. For two weak models, or two strong ones, the "
            "questions where the gain lies are others, and it can be worse than chance (tables above). Adapting it "
            "helps most pairs and not all: measure on outcomes that you kept aside.",
            "- Mostly English: other languages count as unfamiliar, and their scores carry little information.",
            f"- Exam questions dominate. Chat is {_n_chat(found)} prompts of its training data and {chat['n']} of its "
            f"evaluation, and {chat['new']['new_share']:.0%} of the latter are new to it by its own word.",
            "- Held-out halves and MT-Bench were looked at while its kind was chosen: nine variants have an MT-Bench "
            f"figure in the log, and a tenth is mentioned there. Read {chat['apgr'][0]:.3f} as slightly optimistic. "
            "Later builds changed the training rows alone, by rules that know no label, and report what comes out.",
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
        "In a checkout, with the data folder and the extra `train` (which MiniLM needs); `make default` runs both in "
        "some minutes. On one machine and library stack the first gives the same bytes each time; the embedding is "
        "rebuilt separately (`scripts/distil_static.py`). Not all of the folder can be downloaded: `prefroute data "
        "fetch` brings MMLU, GSM8K and MT-Bench, `docs/reference/data-formats.md` describes RouterBench and MMLU-Pro, "
        "and of `strong_weak_pairs` the first script names the columns that it reads.\n\n"
        "```sh\n"
        "python scripts/train_default.py --data DIR --out src/prefroute/default\n"
        "python -m scripts.shipped --data DIR\n"
        "```"
    )
