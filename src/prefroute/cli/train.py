"""`prefroute train`: from tables of battles or outcomes to a checkpoint."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

import typer

from prefroute.cli.mixing import LeaveOneOut, Sources, SourceSpec, parse_sources, read_mixture, show_effects
from prefroute.cli.opening import make_router, open_cached_embedder
from prefroute.cli.options import ConfigFile, EmbedderSpec, JsonTo, Params, Seed, parse_params, read_config
from prefroute.cli.output import Bar, Output
from prefroute.errors import ConfigError, DataError

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
    if plan.out.exists():
        raise ConfigError(f"--out {str(plan.out)!r} exists and is left alone. Remove it, or choose another folder.")
    if leave_one_out and len(plan.sources) < 2:
        raise ConfigError("--leave-one-out measures what the sources of a mixture add. Give two --source or more.")
    table = _read(plan)
    n_read = len(table)
    tests = _tests(against or (), test_data or settings.data_dir)
    for name, test in tests.items():
        table = _without(table, name, test, drop_contaminated)
    router = _fit(plan, table, embedder, settings)
    policy = None if calibrate_share is None else _policy(router, table, calibrate_share)
    fingerprint = save_checkpoint(
        router,
        plan.out,
        training=PromptKeys.of(table.prompts),
        training_data=[_source(path) for path in plan.paths],
        policy=policy,
    )
    output.say(f"Saved {plan.kind}, from {len(table):,} rows, to {plan.out} (fingerprint {fingerprint[:12]}).")
    effects = _effects(plan, router, table, list(tests.values())) if leave_one_out else None
    if effects is not None:
        show_effects(effects, output)
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
        data = cast("Battles | Outcomes", table)  # a kind that cannot use a mixture refuses it by name
        if not isinstance(router, SteppedRouter):
            return router.fit(data)
    with Bar("Training") as bar:
        return router.fit(data, resume=_state_file(plan), progress=bar)


def _unfitted(plan: _Plan, embedder: Embedder | None) -> Router:
    return make_router(plan.kind, plan.strong, plan.weak, embedder=embedder, seed=plan.seed, params=plan.params)


def _effects(plan: _Plan, router: Router, table: _Table, tests: Sequence[Benchmark]) -> SourceEffects:
    from prefroute.evaluate import leave_one_out

    embedder = getattr(router, "embedder", None)
    with Bar("Leaving sources out") as bar:
        mixture = cast("Mixture", table)
        return leave_one_out(lambda: _unfitted(plan, embedder), mixture, tests, seed=plan.seed, progress=bar)


def _state_file(plan: _Plan) -> Path:
    """Where an interrupted training is kept: beside the checkpoint that it will become."""
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    return plan.out.with_name(f"{plan.out.name}.training")


def _finish(plan: _Plan, router: Router, n: int, effects: SourceEffects | None, output: Output) -> None:
    """The report of the training, if any, beside the checkpoint; its state is removed, and the next step is said."""
    from prefroute.train.report import TrainingReport, save_training_report

    _state_file(plan).unlink(missing_ok=True)
    report = getattr(router, "training_", None)  # of a kind that is trained in steps
    if effects is not None:
        report = report or TrainingReport(plan.kind, router.params(), n_train=n, n_held_out=0, history=())
        report = replace(report, leave_one_out=effects.rows, similarity=effects.similarity)
    if report is not None:
        _, page = save_training_report(report, plan.out.with_name(f"{plan.out.name}-training"))
        output.say(f"Report of the training: {page}")
    output.say(f"Next: prefroute route --router {shlex.quote(str(plan.out))} 'What is 2 + 2?'")


def _policy(router: Router, table: _Table, strong_share: float) -> Threshold:
    from prefroute.calibrate import calibrate

    return calibrate(router, table.prompts, strong_share=strong_share).policy


def _source(path: Path) -> dict[str, Any]:
    """What the checkpoint remembers of a table: never where it lies on this machine."""
    from prefroute.data.source import find_files

    digest = hashlib.sha256()
    for file in find_files(path):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return {"name": path.name, "sha256": digest.hexdigest()}
