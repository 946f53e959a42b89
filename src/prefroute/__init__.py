"""prefroute: route each prompt to the cheapest model that will answer it well, learned from preference data.

The doors are below; each is imported when it is first used, so that `import prefroute` costs little more than
`import numpy`. `benchmarks`, `calibrate`, `evaluate` and `routers` are rooms with more than one door: the verb stands
inside, `prefroute.evaluate.evaluate(...)`, since one name cannot be both a module and a function.

    data = prefroute.load_data("outcomes.parquet", strong="big", weak="small")
    router = prefroute.routers.routers.get("linear")(embedder=prefroute.open_embedder("static"), ...)
    prefroute.save(router.fit(data), "runs/linear")
    prefroute.load("runs/linear").win_rate(["What is 2 + 2?"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefroute import benchmarks, calibrate, evaluate, routers
    from prefroute.benchmarks import load_benchmark
    from prefroute.checkpoint import load, open_checkpoint
    from prefroute.checkpoint import save_checkpoint as save
    from prefroute.curve import Curve
    from prefroute.data import load as load_data
    from prefroute.embed import open_embedder
    from prefroute.errors import PrefrouteError
    from prefroute.policy import CostQuality, Threshold
    from prefroute.types import Battles, Mixture, Outcomes, Source

    __version__: str

__all__ = [
    "Battles",
    "CostQuality",
    "Curve",
    "Mixture",
    "Outcomes",
    "PrefrouteError",
    "Source",
    "Threshold",
    "__version__",
    "benchmarks",
    "calibrate",
    "evaluate",
    "load",
    "load_benchmark",
    "load_data",
    "open_checkpoint",
    "open_embedder",
    "routers",
    "save",
]

_DOORS = {  # name -> (module, attribute); without an attribute the module itself is meant
    "Battles": ("types", "Battles"),
    "CostQuality": ("policy", "CostQuality"),
    "Curve": ("curve", "Curve"),
    "Mixture": ("types", "Mixture"),
    "Outcomes": ("types", "Outcomes"),
    "PrefrouteError": ("errors", "PrefrouteError"),
    "Source": ("types", "Source"),
    "Threshold": ("policy", "Threshold"),
    "benchmarks": ("benchmarks", None),
    "calibrate": ("calibrate", None),
    "evaluate": ("evaluate", None),
    "load": ("checkpoint", "load"),
    "load_benchmark": ("benchmarks", "load_benchmark"),
    "load_data": ("data", "load"),
    "open_checkpoint": ("checkpoint", "open_checkpoint"),
    "open_embedder": ("embed", "open_embedder"),
    "routers": ("routers", None),
    "save": ("checkpoint", "save_checkpoint"),
}


def __getattr__(name: str) -> Any:
    """Import a door when it is first used."""
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        return version("prefroute")
    if name not in _DOORS:
        raise AttributeError(f"module 'prefroute' has no attribute {name!r}")
    module_name, attribute = _DOORS[name]
    module = importlib.import_module(f"prefroute.{module_name}")
    return module if attribute is None else getattr(module, attribute)


def __dir__() -> list[str]:
    """The doors, for completion in a shell."""
    return sorted(__all__)
