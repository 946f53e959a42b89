"""Several tables of one kind as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefroute.errors import DataError
from prefroute.types import Battles, FloatArray, Outcomes

__all__ = ["concatenate"]


def concatenate(tables: Sequence[Battles | Outcomes]) -> Battles | Outcomes:
    """The rows of all tables, in order, over the union of their models, sorted by name.

    What one table does not hold of another's models is not observed.

    Args:
        tables: At least one; all battles, or all outcomes.

    Raises:
        DataError: If there is none, or both kinds are among them.

    Example:
        >>> one = Battles.of(["hi"], ["big"], ["small"], [1.0])
        >>> two = Battles.of(["2+2?"], ["mid"], ["small"], [0.5])
        >>> concatenate([one, two]).models
        ('big', 'mid', 'small')
    """
    if len(tables) == 1:
        return tables[0]
    battles = [table for table in tables if isinstance(table, Battles)]
    outcomes = [table for table in tables if isinstance(table, Outcomes)]
    if not tables or (battles and outcomes):
        raise DataError(
            f"Tables to join must be all battles or all outcomes, got {len(battles)} of battles and {len(outcomes)} of "
            "outcomes. Train on one kind."
        )
    models = tuple(sorted({model for table in tables for model in table.models}))
    prompts = [prompt for table in tables for prompt in table.prompts]
    if battles:
        place = [np.array([models.index(model) for model in table.models], dtype=np.int32) for table in battles]
        return Battles(
            prompts=prompts,
            models=models,
            model_a=np.concatenate([p[table.model_a] for p, table in zip(place, battles, strict=True)]),
            model_b=np.concatenate([p[table.model_b] for p, table in zip(place, battles, strict=True)]),
            outcome=np.concatenate([table.outcome for table in battles]),
        )
    costs = None
    if any(table.cost_usd is not None for table in outcomes):
        costs = np.concatenate([_spread(table, table.cost_usd, models) for table in outcomes])
    return Outcomes(prompts, models, np.concatenate([_spread(t, t.quality, models) for t in outcomes]), costs)


def _spread(table: Outcomes, values: FloatArray | None, models: tuple[str, ...]) -> FloatArray:
    """The table's values under the columns of `models`, NaN elsewhere, shape (n, m)."""
    wide = np.full((len(table), len(models)), np.nan)
    if values is not None:
        wide[:, [models.index(model) for model in table.models]] = values
    return wide
