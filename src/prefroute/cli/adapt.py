"""`prefroute adapt`: the shipped router's difficulty for models of your own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.opening import open_router
from prefroute.cli.options import JsonTo, parse_numbers
from prefroute.cli.output import Output
from prefroute.errors import ConfigError, DataError

if TYPE_CHECKING:
    from prefroute.checkpoint import Checkpoint
    from prefroute.metrics import Interval
    from prefroute.routers.abilities import Abilities, Ability
    from prefroute.routers.experts import Experts
    from prefroute.types import Outcomes

__all__ = ["adapt"]


@dataclass(frozen=True)
class _Evidence:
    """What the new router is made from: outcomes, or prompts and the mean quality of each model on them."""

    name: str
    prompts: Sequence[str]
    outcomes: Outcomes | None = None
    quality: Mapping[str, float] | None = None


RouterName = Annotated[str, typer.Argument(metavar="ROUTER", help="'default', or the checkpoint of an experts router.")]
Table = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="Outcomes of your models on 100 to 300 prompts each.")
]
Scores = Annotated[
    str | None,
    typer.Option("--journal", metavar="JOURNAL", help="In place of a table: scores in a gateway's journal."),
]
Means = Annotated[
    list[str] | None,
    typer.Option("--quality", metavar="MODEL=MEAN", help="In place of a table: mean quality on --prompts. Repeatable."),
]
Prompts = Annotated[
    str | None, typer.Option("--prompts", metavar="FILE", help="With --quality: your prompts, as for route --file.")
]
Strong = Annotated[str, typer.Option("--strong", metavar="MODEL", help="Name of the strong model.")]
Weak = Annotated[str, typer.Option("--weak", metavar="MODEL", help="Name of the weak model.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make and save the checkpoint in.")]
StrongShare = Annotated[
    float,
    typer.Option("--strong-share", min=0, max=1, help="Of the threshold that is saved with it, on these prompts."),
]


def adapt(
    strong: Strong,
    weak: Weak,
    out: Out,
    router: RouterName = "default",
    data: Table = None,
    journal: Scores = None,
    quality: Means = None,
    prompts: Prompts = None,
    strong_share: StrongShare = 0.5,
    json_to: JsonTo = None,
) -> None:
    """Make a router for your own models: keep a router's difficulty, learn how each model copes with it.

    Any number of models; each may have been seen on prompts of its own, so feedback from a journal will do.

    Example: prefroute adapt --data outcomes.parquet --strong big --weak small --out runs/mine

    Example: prefroute adapt --journal gateway.yaml --strong big --weak small --out runs/mine

    Example: prefroute adapt --quality big=0.9 --quality small=0.7 --prompts prompts.txt --strong big --weak small
    --out runs/mine
    """
    from prefroute.routers.experts import Experts

    output = Output(json_to)
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists and is left alone. Remove it, or choose another folder.")
    checkpoint = open_router(router)
    if not isinstance(checkpoint.router, Experts):
        raise ConfigError(
            f"{router!r} holds a {checkpoint.router.kind} router, which knows no difficulty. Leave it out for the one "
            "that ships, or name a checkpoint of prefroute train experts."
        )
    output.spare(router, data, prompts)
    evidence = _evidence(data, journal, quality, prompts, output)
    made, known = _made(checkpoint.router, evidence, strong, weak)
    fingerprint, threshold, share = _save(made, evidence, checkpoint, out, strong_share)
    left_out = [model for model in evidence.outcomes.models if model not in made.models] if evidence.outcomes else []
    output.result(
        {"schema": 1, "checkpoint": str(out), "fingerprint": fingerprint, "threshold": threshold}
        | {"n": len(evidence.prompts), "models": [_told(ability) for ability in known], "left_out": left_out}
    )
    output.say(f"Saved a router for {', '.join(made.models)} to {out} (fingerprint {fingerprint[:12]}).")
    for ability in known:
        skill = f"squared error saved over the mean {_shown(ability.skill)}"
        output.say(f"  {ability.model}: {ability.n:,} prompts, mean quality {_shown(ability.observed)}, {skill}")
    if left_out:
        output.say(f"Left out, seen on fewer than ten prompts: {', '.join(left_out)}")
    output.say(
        f"Its threshold {threshold:.6f} sends a share of {share:.3f} of these prompts to {strong}, of new "
        "ones perhaps another."
    )
    output.say(f"Next: prefroute calibrate {shlex.quote(str(out))} --prompts FILE --strong-share {strong_share:g}")


def _save(
    made: Abilities, evidence: _Evidence, ruler: Checkpoint, out: Path, strong_share: float
) -> tuple[str, float, float]:
    """Fingerprint and threshold of what is saved, and the strong share that the threshold gives on these prompts."""
    from prefroute.calibrate import calibrate
    from prefroute.checkpoint import save_checkpoint
    from prefroute.data import PromptKeys

    found = calibrate(made, list(evidence.prompts), strong_share=strong_share, n_boot=1)
    own = PromptKeys.of(evidence.prompts)
    fingerprint = save_checkpoint(
        made,
        out,
        training=own if ruler.training is None else PromptKeys.merge([ruler.training, own]),
        training_data=[*ruler.manifest["training_data"], {"name": evidence.name, "rows": len(evidence.prompts)}],
        policy=found.policy,
        notes=f"The difficulty is that of router {ruler.fingerprint[:12]}.",
        licence=ruler.manifest["licence"],
    )
    return fingerprint, found.policy.alpha, found.strong_share.value


def _evidence(
    data: Path | None, journal: str | None, quality: list[str] | None, prompts: str | None, output: Output
) -> _Evidence:
    from prefroute.data import load, read_prompts
    from prefroute.types import Outcomes

    if sum(given is not None for given in (data, journal, quality)) != 1 or (quality is None) != (prompts is None):
        raise ConfigError("Give one of --data PATH, --journal JOURNAL, and --quality MODEL=MEAN with --prompts FILE.")
    if data is not None:
        table = load(data, table="outcomes")
        assert isinstance(table, Outcomes)
        return _Evidence(data.name, table.prompts, table)
    if journal is not None:
        table = _from_journal(journal, output)
        return _Evidence("feedback in a journal", table.prompts, table)
    assert prompts is not None
    return _Evidence(
        "prompts with mean qualities",
        list(read_prompts(prompts)),
        quality=parse_numbers(quality, "--quality", "--quality small=0.7"),
    )


def _from_journal(journal: str, output: Output) -> Outcomes:
    from prefroute.cli.journal import open_engine
    from prefroute.journal.learning import feedback_data

    with open_engine(journal, output) as engine:
        found = feedback_data(engine)
    if found.outcomes is None:
        why = "; ".join(f"{n:,} left out: {reason}" for reason, n in found.n_left_out.items())
        raise DataError(f"The journal holds no scores of answers whose text was stored (store_prompts). {why}".rstrip())
    if found.loud_key is not None:
        output.say(
            f"Note: {found.loud_key} To leave it out: prefroute data from-journal {shlex.quote(journal)} --out FILE "
            f"--without-key {found.loud_key.key_id}, then prefroute adapt --data FILE"
        )
    return found.outcomes


def _made(ruler: Experts, evidence: _Evidence, strong: str, weak: str) -> tuple[Abilities, list[Ability]]:
    from prefroute.routers.abilities import Abilities

    if evidence.outcomes is not None:
        return Abilities.on(ruler, evidence.outcomes, strong, weak)
    assert evidence.quality is not None
    return Abilities.rated(ruler, evidence.quality, evidence.prompts, strong, weak), []


def _told(ability: Ability) -> dict[str, Any]:
    figures = {"observed": ability.observed, "skill": ability.skill}
    return {"model": ability.model, "n": ability.n} | {
        name: {"value": figure.value, "interval": [figure.low, figure.high]} for name, figure in figures.items()
    }


def _shown(figure: Interval) -> str:
    return f"{figure.value:z.3f} [{figure.low:z.3f}, {figure.high:z.3f}]"
