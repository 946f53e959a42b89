"""Every registered router keeps the contract, and so does one that another package registers by entry point."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefroute.checkpoint import load
from prefroute.registry import Registry
from prefroute.routers import Router, RouterState, routers
from prefroute.testing import HashEmbedder, check_router, router_checks

PLUGIN = """
    import numpy as np
    from prefroute.routers import Router, RouterState
    from prefroute.routers.base import check_data, check_prompts

    class Constant(Router):
        kind = "constant"

        def __init__(self, strong, weak):
            self.strong, self.weak = strong, weak

        def fit(self, data):
            check_data(self, data)
            self.value_ = 0.5
            return self

        def win_rate(self, prompts):
            self._require("value_")
            return np.full(len(check_prompts(prompts)), self.value_)

        def state(self):
            self._require("value_")
            return RouterState(meta={"value": self.value_})

        def restore(self, state):
            self.value_ = state.meta["value"]
            return self
"""


# kinds that fine-tune a pretrained network get a tiny random one, and few steps
BASES = {"bert": "tiny_encoder", "causal_llm": "tiny_decoder"}
# and members that are fitted in milliseconds
PARAMS = {"ensemble": {"members": ["linear", "knn"]}}
# kinds that learn from no table come ready from a checkpoint, which takes its time to make
READY = {"bert_onnx": "tiny_bert_onnx"}
PROMISES = [
    pytest.param(name, check, id=f"{check.__name__}-{name}", marks=[pytest.mark.slow] * (name in READY))
    for name in sorted(routers.builtin)
    for check in router_checks(learns=name not in READY)
]


def make(router_class: type[Router], **params: Any) -> Router:
    constructor: Callable[..., Router] = router_class
    embedder = {"embedder": HashEmbedder()} if router_class.uses_embedder else {}
    return constructor("big", "small", **embedder, **params)


@pytest.mark.parametrize(("name", "check"), PROMISES)
def test_registered_router_keeps_its_promise(name, check, request):
    if name in READY:
        folder = request.getfixturevalue(READY[name])
        check(lambda: load(folder))
        return
    router_class = routers.get(name)
    params = {"base": str(request.getfixturevalue(BASES[name])), "steps": 2} if name in BASES else PARAMS.get(name, {})

    check(lambda: make(router_class, **params))


@pytest.mark.parametrize("name", sorted(routers.builtin))
def test_kind_is_the_registered_name(name):
    assert routers.get(name).kind == name


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[type[Router]]]:
    """The registry as another process would find it with a distribution on its path that registers `constant`."""
    info = tmp_path / "constant_router-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: constant-router\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[prefroute.routers]\nconstant = constant_router_plugin:Constant\nknn = constant_router_plugin:Constant\n"
    )
    (tmp_path / "constant_router_plugin.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    vars(routers).pop("_plugins", None)
    yield routers
    vars(routers).pop("_plugins", None)
    sys.modules.pop("constant_router_plugin", None)


def test_router_of_another_package_is_found_by_entry_point_and_keeps_the_contract(plugin):
    assert "constant" in plugin.names()

    kept = check_router(lambda: make(plugin.get("constant")))

    assert len(kept) == len(router_checks())


def test_plugin_cannot_replace_a_built_in_router(plugin):
    assert plugin.get("knn").__module__ == "prefroute.routers.knn"


def test_a_kind_that_learns_from_no_table_is_held_to_the_rest(plugin, monkeypatch):
    constant = plugin.get("constant")
    monkeypatch.setattr(constant, "learns_from", ())

    def ready():
        return make(constant).restore(RouterState(meta={"value": 0.5}))

    assert len(check_router(ready)) == len(router_checks(learns=False))

    monkeypatch.setattr(constant, "fit", lambda self, data: self)
    with pytest.raises(AssertionError, match="`fit` must raise DataError"):
        check_router(ready)


def test_broken_promise_is_named(plugin, monkeypatch):
    constant = plugin.get("constant")
    monkeypatch.setattr(constant, "win_rate", lambda self, prompts: [2.0 for _ in prompts])

    with pytest.raises(AssertionError, match="must raise NotFittedError"):
        check_router(lambda: make(constant))
