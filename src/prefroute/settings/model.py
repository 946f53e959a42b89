"""The settings of `prefroute.yaml` as typed values.

Importing this module loads pydantic; use `prefroute.settings.load_settings`, which does so only when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

__all__ = [
    "CalibrateSettings",
    "EvaluateSettings",
    "OpenAISettings",
    "PathText",
    "Section",
    "Settings",
    "TrainSettings",
]

_Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Part of a file: unknown keys are refused, and nothing changes its type."""

    # strict: a YAML `yes` must not become 1, nor "3" a number: what the file says is what is meant
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _unsaid(cls, values: Any) -> Any:
        """Without keys that have nothing, or only comments, behind them: in YAML None, meant as the default."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None or name not in cls.model_fields}


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    try:
        return Path(folder / path.expanduser())
    except RuntimeError as exc:
        raise ValueError(f"{path}: there is no such user. Write the path out") from exc


PathText = Annotated[Path, Field(strict=False), AfterValidator(_from_folder)]
"""A path, taken from the folder of the file that names it."""


class OpenAISettings(Section):
    """The OpenAI-compatible endpoint of `embedder: openai:MODEL`.

    Attributes:
        base_url: Up to and including `/v1`.
        api_key: Shown nowhere; write `${NAME}` to take it from the environment.
        timeout_s: Seconds for one attempt, > 0.
    """

    base_url: _Name = "https://api.openai.com/v1"
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=60.0, gt=0)


class TrainSettings(Section):
    """What `prefroute train` learns, and from what.

    Attributes:
        router: A registered kind.
        data: Tables of battles or outcomes.
        strong: Name of the strong model in the data.
        weak: Name of the weak model in the data.
        tiers: Group the models of battles into this many tiers first, >= 2.
        params: Arguments of the router, by name.
        out: Folder of the checkpoint.
    """

    router: _Name = "linear"
    data: tuple[PathText, ...] = Field(default=(), strict=False)
    strong: _Name | None = None
    weak: _Name | None = None
    tiers: int | None = Field(default=None, ge=2)
    params: dict[str, Any] = Field(default_factory=dict)
    out: PathText | None = None

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.strong is not None and self.strong == self.weak:
            raise ValueError("`strong` and `weak` must be two models")
        return self


class EvaluateSettings(Section):
    """What `prefroute evaluate` measures.

    Attributes:
        benchmarks: Names or tables of outcomes.
        gold: Train on this many questions of the benchmark, >= 1.
        folds: Cross-validate in this many folds, >= 2; not together with `gold`.
        n_boot: Resamples of the questions for the intervals, >= 100.
    """

    benchmarks: tuple[_Name, ...] = Field(default=("mmlu", "gsm8k", "mt-bench"), strict=False)
    gold: int | None = Field(default=None, ge=1)
    folds: int | None = Field(default=None, ge=2)
    n_boot: int = Field(default=2000, ge=100)

    @model_validator(mode="after")
    def _one_protocol(self) -> Self:
        if self.gold is not None and self.folds is not None:
            raise ValueError("set `gold` or `folds`, not both")
        return self


class CalibrateSettings(Section):
    """What `prefroute calibrate` aims for; at most one of the three.

    Attributes:
        strong_share: Share of requests that go to the strong model, in [0, 1].
        mean_cost_usd: Mean cost of a request in USD, >= 0.
        pgr: Performance gap recovered, in (0, 1].
    """

    strong_share: float | None = Field(default=None, ge=0, le=1)
    mean_cost_usd: float | None = Field(default=None, ge=0)
    pgr: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        targets = ("strong_share", "mean_cost_usd", "pgr")
        given = [name for name in targets if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"set one of {', '.join(targets)}, not {' and '.join(given)}")
        return self


class Settings(Section):
    """The whole file.

    Attributes:
        data_dir: The folder that holds `routellm_benchmarks/`.
        embedder: As for `prefroute.embed.open_embedder`.
        seed: Drives every draw, >= 0.
        openai: The endpoint of a remote embedder; None to take it from the environment.
        train: For `prefroute train`.
        evaluate: For `prefroute evaluate`.
        calibrate: For `prefroute calibrate`.
    """

    data_dir: PathText | None = None
    embedder: _Name = "static"
    seed: int = Field(default=0, ge=0)
    openai: OpenAISettings | None = None
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    calibrate: CalibrateSettings = CalibrateSettings()
