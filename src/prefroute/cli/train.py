"""`prefroute train`: from tables of battles or outcomes to a checkpoint."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

import typer

from prefroute.cli.mixing import LeaveOneOut, Sources, SourceSpec, parse_sources, read_mixture, show_effects
from prefroute.cli.opening import make_router, open_cached_embedder
from prefroute.cli.options import ConfigFile, EmbedderSpec, JsonTo, Params, Seed, parse_params, read_config
from prefroute.cli.output import Bar, Output, TrainingBar
from prefroute.errors import ConfigError, DataError
from prefroute.settings import torchrun_process

if TYPE_CHECKING:
    from prefroute.benchmarks import Benchmark
    from prefroute.evaluate import SourceEffects
    from prefroute.policy import Threshold
    from prefroute.routers import Router
    from prefroute.settings.model import Settings
    from prefroute.types import Battles, Embedder, Mixture, Outcomes

    _Table: TypeAlias = Battles | Outcomes | Mixture

__all__ = ["train"]

_T = TypeVar("_T")

Kind = Annotated[
    str | None,
    typer.Argument(
        metavar="[KIND]",
        help="linear (first choice), ensemble, experts, abilities, knn, sw_ranking, mf, bert, causal_llm, a plug-in's.",
    ),
]
Tables = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="PATH", help="Table of battles or outcomes. Repeatable: rows are added."),
]
Strong = Annotated[str | None, typer.Option("--strong", metavar="MODEL", help="The strong model.")]
Weak = Annotated[str | None, typer.Option("--weak", metavar="MODEL", help="The weak model.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to make and save the checkpoint in.")]
Tiers = Annotated[int | None, typer.Option("--tiers", min=2, help="Group the models of battles into tiers first.")]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="TEST", help="Refuse questions of this benchmark or table. Repeatable."),
]
DropContaminated = Annotated[
    bool, typer.Option("--drop-contaminated", help="Leave out the rows that --against finds, instead of refusing.")
]
TestData = Annotated[
    Path | None,
    typer.Option("--test-data", metavar="DIR", help="Where --against finds benchmarks. Default: $PREFROUTE_DATA."),
]
CalibrateShare = Annotated[
    float | None,
    typer.Option("--calibrate-share", min=0, max=1, help="Also save the threshold that sends this share to strong."),
]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What flags and settings ask for, flags first."""

    kind: str
    paths: Sequence[Path]
    sources: Sequence[SourceSpec]
    strong: str
    weak: str
    tiers: int | None
    seed: int
    params: dict[str, Any]
    out: Path


def train(
    kind: Kind = None,
    data: Tables = None,
    source: Sources = None,
    strong: Strong = None,
    weak: Weak = None,
    out: Out = None,
    tiers: Tiers = None,
    embedder: EmbedderSpec = None,
    params: Params = None,
    seed: Seed = None,
    against: Against = None,
    drop_contaminated: DropContaminated = False,
    test_data: TestData = None,
    calibrate_share: CalibrateShare = None,
    leave_one_out: LeaveOneOut = False,
    config: ConfigFile = None,
    json_to: JsonTo = None,
) -> None:
    """Train a router and save it as a checkpoint; kinds that train in steps go on where they were interrupted.

    Example: prefroute train linear --data outcomes.parquet --strong big --weak small --out runs/linear

    Example: prefroute train sw_ranking --data battles.csv --strong big --weak small --tiers 10 --out runs/sw

    Example: prefroute train experts --source a=x.parquet --source b=y.csv,weight=0.5 --strong big --weak small --out m
    """
    from prefroute.checkpoint import save_checkpoint
    from prefroute.data import PromptKeys

    output = Output(json_to)
    settings = read_config(config)
    words = {"kind": kind, "data": data, "strong": strong, "weak": weak, "tiers": tiers, "seed": seed, "out": out}
    plan = _plan(words, parse_sources(source), parse_params(params), settings)
    output.spare(config, *plan.paths, *(against or ()))
    _check(plan, leave_one_out)
    table = _read(plan)
    n_read = len(table)
    tests = _tests(against or (), test_data or settings.data_dir)
    for name, test in tests.items():
        table = _without(table, name, test, drop_contaminated)
    router = _fit(plan, table, embedder, settings)
    if not _goes_on():
        return
    policy, remark = (None, "") if calibrate_share is None else _policy(plan, router, table, calibrate_share)
    fingerprint = save_checkpoint(
        router,
        plan.out,
        training=PromptKeys.of(table.prompts),
        training_data=[_source(path) for path in plan.paths],
        policy=policy,
    )
    output.say(f"Saved {plan.kind}, from {len(table):,} rows, to {plan.out} (fingerprint {fingerprint[:12]}).")
    if remark:
        output.say(remark)
    effects = _effects(plan, router, table, list(tests.values()), output) if leave_one_out else None
    saved = {"fingerprint": fingerprint, "threshold": policy.alpha if policy else None}
    output.result(_summary(plan, len(table), n_read) | saved | (effects.to_json() if effects else {}))
    _finish(plan, router, len(table), effects, output)


def _summary(plan: _Plan, n: int, n_read: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "checkpoint": str(plan.out),
        "router": plan.kind,
        "strong": plan.strong,
        "weak": plan.weak,
        "seed": plan.seed,
        "n": n,
        "n_contaminated": n_read - n,
    }


def _plan(words: dict[str, Any], sources: Sequence[SourceSpec], params: dict[str, Any], settings: Settings) -> _Plan:
    """The flags where they were given, else the settings."""
    given = settings.train
    if sources and words["data"]:
        raise ConfigError("--source and --data exclude each other. Name every table with --source.")
    return _Plan(
        kind=words["kind"] or given.router,
        paths=[spec.path for spec in sources] or _needed("--data PATH", words["data"] or given.data),
        sources=sources,
        strong=_needed("--strong MODEL", words["strong"] or given.strong),
        weak=_needed("--weak MODEL", words["weak"] or given.weak),
        tiers=words["tiers"] or given.tiers,
        seed=settings.seed if words["seed"] is None else words["seed"],
        params=given.params | params,
        out=_needed("--out DIR", words["out"] or given.out),
    )


def _needed(option: str, value: _T | None) -> _T:
    if not value:
        raise ConfigError(f"{option} is missing. Give it on the line, or under `train` in a file for --config.")
    return value


def _check(plan: _Plan, leave_one_out: bool) -> None:
    """Refuse what would end badly, before any work is done.

    Raises:
        ConfigError: If the checkpoint exists, there are no sources to leave out, or `torchrun` started several
            processes for what one does by itself.
    """
    from prefroute.routers import routers
    from prefroute.routers.base import SteppedRouter

    if plan.out.exists():
        raise ConfigError(f"--out {str(plan.out)!r} exists and is left alone. Remove it, or choose another folder.")
    if leave_one_out and len(plan.sources) < 2:
        raise ConfigError("--leave-one-out measures what the sources of a mixture add. Give two --source or more.")
    if torchrun_process()[1] == 1:
        return
    router = routers.get(plan.kind)
    if leave_one_out or not (issubclass(router, SteppedRouter) and router.shares_steps):
        what = "--leave-one-out" if leave_one_out else plan.kind
        raise ConfigError(f"{what} trains in one process, torchrun started several. Run it without torchrun.")


def _read(plan: _Plan) -> Battles | Outcomes | Mixture:
    """All rows of the files, models grouped where tiers are asked for."""
    from prefroute.data import concatenate, load, tier_classes
    from prefroute.types import Battles

    if plan.sources:
        if plan.tiers is not None:
            raise ConfigError("--tiers groups the models of one table of battles; a mixture has pairs of its own.")
        return read_mixture(plan.sources, plan.strong, plan.weak)

    tables = [load(path, strong=plan.strong, weak=plan.weak) for path in plan.paths]
    table = concatenate(tables)
    if plan.tiers is None:
        return table
    if not isinstance(table, Battles):
        raise ConfigError("--tiers groups the models of battles; this data holds outcomes. Leave --tiers out.")
    return tier_classes(table, plan.strong, plan.weak, plan.tiers)


def _tests(names: Sequence[str], data_dir: Path | None) -> dict[str, Benchmark]:
    """The question sets of --against, by what they were called."""
    from prefroute.benchmarks import load_benchmark
    from prefroute.settings import data_dir as default_data_dir

    return {name: load_benchmark(name, data_dir or default_data_dir()) for name in names}


def _without(table: _Table, name: str, test: Benchmark, drop: bool) -> _Table:
    """The table without the rows that are questions of the test set."""
    from prefroute.data import PromptKeys, contamination

    found = contamination(table.prompts, PromptKeys.of(test.outcomes.prompts))
    n = int(found.any.sum())
    if not n:
        return table
    if n == len(table):
        raise DataError(f"All {n:,} training rows are questions of {name!r} ({found.by()}). Train on other data.")
    if not drop:
        raise DataError(
            f"{n:,} of {len(table):,} training rows are questions of {name!r} ({found.by()}): scores on it would mean "
            "nothing. Add --drop-contaminated to leave these rows out."
        )
    return table.take(~found.any)


def _fit(plan: _Plan, table: _Table, embedder_spec: str | None, settings: Settings) -> Router:
    from prefroute.routers import routers
    from prefroute.routers.base import SteppedRouter

    embedder = None
    with Bar("Embedding") as bar:
        if routers.get(plan.kind).uses_embedder:
            embedder = open_cached_embedder(embedder_spec or settings.embedder, settings, bar)
        router = _unfitted(plan, embedder)
        if not isinstance(router, SteppedRouter):
            return router.fit(table)
    with TrainingBar() as bar:
        is_first = torchrun_process()[0] == 0
        return router.fit(table, resume=_state_file(plan), progress=bar if is_first else None)


def _goes_on() -> bool:
    """Whether this process saves and speaks; under `torchrun` it parts from the others, and the first alone does."""
    number, n_processes = torchrun_process()
    if n_processes > 1:
        from prefroute.train.processes import leave_processes

        leave_processes()
    return number == 0


def _unfitted(plan: _Plan, embedder: Embedder | None) -> Router:
    return make_router(plan.kind, plan.strong, plan.weak, embedder=embedder, seed=plan.seed, params=plan.params)


def _effects(plan: _Plan, router: Router, table: _Table, tests: Sequence[Benchmark], output: Output) -> SourceEffects:
    """What each source adds; it is shown, too."""
    from prefroute.evaluate import leave_one_out

    embedder = getattr(router, "embedder", None)
    with Bar("Leaving sources out") as bar:
        mixture = cast("Mixture", table)
        effects = leave_one_out(lambda: _unfitted(plan, embedder), mixture, tests, seed=plan.seed, progress=bar)
    show_effects(effects, output)
    return effects


def _state_file(plan: _Plan) -> Path:
    """Where an interrupted training is kept: beside the checkpoint that it will become."""
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    return plan.out.with_name(f"{plan.out.name}.training")


def _finish(plan: _Plan, router: Router, n: int, effects: SourceEffects | None, output: Output) -> None:
    """The report of the training, if any, beside the checkpoint; its state is removed, and the next step is said."""
    from prefroute.train.report import TrainingReport, save_training_report

    _state_file(plan).unlink(missing_ok=True)
    report = getattr(router, "training_", None)  # of a kind that is trained in steps
    if report is not None:
        report = replace(report, evaluation=_evaluation(plan, router, output))
    if effects is not None:
        report = report or TrainingReport(plan.kind, router.params(), n_train=n, n_held_out=0, history=())
        report = replace(report, leave_one_out=effects.rows, similarity=effects.similarity)
    if report is not None:
        _, page = save_training_report(report, plan.out.with_name(f"{plan.out.name}-training"))
        output.say(f"Report of the training: {page}")
    output.say(f"Next: prefroute route --router {shlex.quote(str(plan.out))} 'What is 2 + 2?'")


def _evaluation(plan: _Plan, router: Router, output: Output) -> Sequence[Mapping[str, Any]]:
    """The report's rows on what the training held out, said in a line, too; none where that cannot tell."""
    from prefroute.evaluate import evaluate_held_out, figure

    held_out = getattr(router, "held_out_", None)
    if held_out is None:
        return ()
    try:
        rows = evaluate_held_out(plan.kind, held_out, plan.strong, plan.weak, seed=plan.seed)
    except DataError as exc:
        output.say(f"Not evaluated on the held-out rows: {exc}")
        return ()
    length = next(row for row in rows if row["router"] == "length")
    figures = ", ".join(f"{name} {figure(rows[0], name.lower())}" for name in ("APGR", "CPT50", "CPT80"))
    output.say(f"On {rows[0]['n']:,} held-out rows: {figures}; APGR of prompt length {figure(length, 'apgr')}.")
    return rows


def _policy(plan: _Plan, router: Router, table: _Table, strong_share: float) -> tuple[Threshold, str]:
    """The threshold, and what to know of it.

    A router scores what it has learned from otherwise than new prompts: the threshold is chosen on those that the
    training held out, where the router that is kept has not learned from them.
    """
    from prefroute.calibrate import calibrate

    held_out = getattr(router, "held_out_", None)
    if held_out is not None and not held_out.is_learned_later:
        policy = calibrate(router, held_out.prompts, strong_share=strong_share).policy
        return policy, f"The threshold {policy.alpha:.6f} was chosen on {len(held_out.prompts):,} held-out prompts."
    policy = calibrate(router, table.prompts, strong_share=strong_share).policy
    own = f"prefroute calibrate {shlex.quote(str(plan.out))} --prompts FILE --strong-share {strong_share:g}"
    return policy, (
        f"The threshold {policy.alpha:.6f} was chosen on the training prompts; new ones are scored otherwise, and "
        f"their strong share may be far from {strong_share:g}. Choose it on prompts of your own: {own}"
    )


def _source(path: Path) -> dict[str, Any]:
    """What the checkpoint remembers of a table: never where it lies on this machine."""
    from prefroute.data.source import find_files

    digest = hashlib.sha256()
    for file in find_files(path):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return {"name": path.name, "sha256": digest.hexdigest()}
