"""What each source of a mixture adds: routers trained without it, scored on held-out prompts of every source.

The door is `leave_one_out`. A fifth of each source's prompts is held out; one router is trained on the rest of all
sources, and one without each of them. Nothing is chosen here: the figures are for a person to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prefroute.benchmarks import Benchmark
from prefroute.data import PromptKeys, prompt_folds, set_similarity, win_examples
from prefroute.errors import ConfigError, DataError
from prefroute.evaluate.held_out import questions_of_wins
from prefroute.evaluate.result import figure
from prefroute.evaluate.rows import Row
from prefroute.evaluate.run import evaluate
from prefroute.evaluate.scoring import Fitted, Progress
from prefroute.routers import Router
from prefroute.types import Embedder, Mixture, Source

__all__ = ["SourceEffects", "effects_table", "leave_one_out"]

_N_FOLDS = 5  # the first is held out
_ALL = "all sources"


@dataclass(frozen=True, slots=True)
class SourceEffects:
    """What the sources of a mixture add to each other.

    Attributes:
        rows: One for each set of questions and training, JSON values: `scored_on`; `left_out`, a source's name, None
            for the router that was trained on all; `n` questions, `train_n` rows; `apgr`, `apgr_low`, `apgr_high`;
            `adds`, `adds_low`, `adds_high`: the paired APGR difference of the router trained on all to this one, which
            is what the left-out source adds; `note`, a sentence where nothing could be measured.
        similarity: One for each set of questions and source: `scored_on`, `source`, `similarity` (S(B, D), in [-1, 1]),
            `n`, `source_n`; empty for a router without an embedder.
    """

    rows: Sequence[Row]
    similarity: Sequence[Row]

    def to_json(self) -> dict[str, Any]:
        """Both tables by name."""
        return {"leave_one_out": list(self.rows), "similarity": list(self.similarity)}


def leave_one_out(
    make: Callable[[], Router],
    mixture: Mixture,
    tests: Sequence[Benchmark] = (),
    *,
    seed: int = 0,
    n_boot: int = 2000,
    progress: Progress | None = None,
) -> SourceEffects:
    """Train on all sources and without each; score on the held-out fifth of each source and on other questions.

    Questions that stand in any router's training data are left out, for all of them.

    Args:
        make: An unfitted router of a kind that learns from mixtures.
        mixture: At least two sources.
        tests: Other questions to score on.
        seed: Of the held-out prompts (equal prompts are held out together) and of the resamples.
        n_boot: Resamples of questions behind each interval.
        progress: Called with (routers trained, routers to train).

    Raises:
        ConfigError: If there is one source only.
        DataError: If the kind does not learn from mixtures, or nothing can be learned without one of the sources.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 5.2 (similarity). The table is ours.
    """
    if len(mixture.sources) < 2:
        raise ConfigError("Leaving one source out needs at least two, got one. Name each table with --source.")
    fold = prompt_folds(mixture.prompts, _N_FOLDS, seed)
    kept, held_out = mixture.take(fold != 0), mixture.take(fold == 0)
    trainings: dict[str | None, Mixture] = {None: kept}
    for source in kept.sources:
        trainings[source.name] = Mixture(tuple(other for other in kept.sources if other is not source))
    entrants = []
    for done, (name, data) in enumerate(trainings.items()):
        if progress is not None:
            progress(done, len(trainings))
        entrants.append(Fitted(_called(name), make().fit(data), PromptKeys.of(data.prompts)))
    sizes = {name: len(data) for name, data in trainings.items()}
    rows: list[Row] = []
    questions: list[Benchmark] = []
    parts: list[Source | Benchmark] = [*held_out.sources, *tests]
    for part in parts:
        try:
            questions.append(part if isinstance(part, Benchmark) else _questions(part))
            rows += _effects(entrants, sizes, questions[-1], seed, n_boot)
        except DataError as exc:  # no question is left, or the strong model is not better there: the table says so
            rows.append(_row(part.name, None, sizes[None], note=str(exc)))
    embedder = getattr(entrants[0].router, "embedder", None)
    found = _similarities(embedder, kept, questions) if isinstance(embedder, Embedder) else ()
    return SourceEffects(rows, list(found))


def effects_table(effects: SourceEffects) -> list[list[str]]:
    """For people: a line for each set of questions, with the APGR of all sources and what each of them adds to it.

    Example:
        >>> row = {"scored_on": "chat", "left_out": None, "n": 90, "apgr": 0.6, "apgr_low": 0.52, "apgr_high": 0.68}
        >>> effects_table(SourceEffects([row], []))
        [['scored on', 'n', 'APGR of all'], ['chat', '90', '0.600 [0.520, 0.680]']]
    """
    names = list(dict.fromkeys(row["left_out"] for row in effects.rows if row["left_out"] is not None))
    table = [["scored on", "n", "APGR of all", *(f"{name} adds" for name in names)]]
    for scored_on in dict.fromkeys(row["scored_on"] for row in effects.rows):
        found = {row["left_out"]: row for row in effects.rows if row["scored_on"] == scored_on}
        cells = [figure(found[name], "adds", signed=True) if name in found else "" for name in names]
        table.append([scored_on, str(found[None]["n"]), figure(found[None], "apgr"), *cells])
    return table


def _called(left_out: str | None) -> str:
    return _ALL if left_out is None else f"without {left_out}"


def _questions(source: Source) -> Benchmark:
    """Held-out rows as a benchmark."""
    examples = win_examples(Mixture((source,)), source.strong, source.weak)
    return questions_of_wins(source.name, examples.prompts, examples.win, source.strong, source.weak)


def _effects(
    entrants: Sequence[Fitted], sizes: dict[str | None, int], test: Benchmark, seed: int, n_boot: int
) -> list[Row]:
    found = {row["router"]: row for row in evaluate(entrants, test, seed=seed, n_boot=n_boot).rows}
    rows = []
    for name, train_n in sizes.items():
        row = found[_called(name)]
        figures = {key: row[key] for key in ("n", "apgr", "apgr_low", "apgr_high")}
        if name is not None:
            adds = found[_ALL]["vs"][_called(name)]
            figures |= {"adds": adds["diff"], "adds_low": adds["low"], "adds_high": adds["high"]}
        rows.append(_row(test.name, name, train_n, **figures))
    return rows


def _row(scored_on: str, left_out: str | None, train_n: int, **known: Any) -> Row:
    """A row of `SourceEffects`; what is not known is None."""
    nothing = dict.fromkeys(("apgr", "apgr_low", "apgr_high", "adds", "adds_low", "adds_high", "note"))
    return {"scored_on": scored_on, "left_out": left_out, "n": 0, "train_n": train_n, **nothing, **known}


def _similarities(embedder: Embedder, kept: Mixture, questions: Sequence[Benchmark]) -> Iterator[Row]:
    vectors = {source.name: embedder.encode(source.data.prompts) for source in kept.sources}
    for test in questions:
        asked = embedder.encode(test.outcomes.prompts)
        for name, trained in vectors.items():
            similarity = set_similarity(asked, trained)
            sizes = {"n": len(asked), "source_n": len(trained)}
            yield {"scored_on": test.name, "source": name, "similarity": similarity, **sizes}
