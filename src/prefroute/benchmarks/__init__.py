"""Benchmarks room: question sets with known outcomes. The doors are `load_benchmark` and the registry `benchmarks`.

Reads tables through the data room; scores nothing. Other packages add loaders through the entry-point group
"prefroute.benchmarks".
"""

from __future__ import annotations

from pathlib import Path

from prefroute.benchmarks.base import PERCENT, Benchmark, Loader, Unit
from prefroute.errors import ConfigError, nearest
from prefroute.registry import Registry

__all__ = ["PERCENT", "Benchmark", "Loader", "Unit", "benchmarks", "load_benchmark"]

benchmarks: Registry[Loader] = Registry(
    "benchmark",
    {
        "gsm8k": "prefroute.benchmarks.routellm:load_gsm8k",
        "mmlu": "prefroute.benchmarks.routellm:load_mmlu",
        "mmlu-pro": "prefroute.benchmarks.pools:load_mmlu_pro",
        "mt-bench": "prefroute.benchmarks.routellm:load_mt_bench",
        "mt-bench-human": "prefroute.benchmarks.pools:load_mt_bench_human",
        "routerbench": "prefroute.benchmarks.pools:load_routerbench",
    },
    group="prefroute.benchmarks",
)


def load_benchmark(
    name: str | Path,
    data_dir: str | Path | None = None,
    *,
    strong: str | None = None,
    weak: str | None = None,
    usual: tuple[str, str] | None = None,
) -> Benchmark:
    """The benchmark with this name, or any outcomes table as one.

    Args:
        name: A registered name (`benchmarks.names()`), or the path of an outcomes table.
        data_dir: The folder that holds `routellm_benchmarks/` and the others, or a copy of RouteLLM's `routellm/evals`;
            not needed for a table.
        strong: Another strong model of the pool than the benchmark's own.
        weak: Another weak model of the pool.
        usual: Strong and weak model of a table that has both, where neither is given.

    Raises:
        ConfigError: If the name is unknown and no such file exists, or `data_dir` is needed and not given.
        DataError: If the files are not there or do not hold what they should, or a model is not in the pool.
    """
    if str(name) in benchmarks:
        if data_dir is None:
            raise ConfigError(f"Benchmark {str(name)!r} needs the data folder. Give --data DIR or set PREFROUTE_DATA.")
        return benchmarks.get(str(name))(Path(data_dir), strong, weak)
    if not Path(name).exists():
        raise ConfigError(
            f"{nearest(str(name), benchmarks.names(), 'benchmark')} Or give the path of an outcomes table."
        )
    from prefroute.benchmarks.table import load_table

    return load_table(Path(name), strong, weak, usual)
