"""Routers: each scores prompts, none chooses. The door is `routers`, the registry of their kinds."""

from __future__ import annotations

from prefroute.registry import Registry
from prefroute.routers.base import NoveltyRouter, PoolRouter, Router, RouterState, SteppedRouter

__all__ = ["NoveltyRouter", "PoolRouter", "Router", "RouterState", "SteppedRouter", "routers"]

routers: Registry[type[Router]] = Registry(
    "router",
    {
        "abilities": "prefroute.routers.abilities:Abilities",
        "ensemble": "prefroute.routers.ensemble:Ensemble",
        "experts": "prefroute.routers.experts:Experts",
        "bert": "prefroute.routers.bert:Bert",
        "bert_onnx": "prefroute.routers.bert_onnx:BertOnnx",
        "causal_llm": "prefroute.routers.causal_llm:CausalLLM",
        "knn": "prefroute.routers.knn:KNN",
        "length": "prefroute.routers.length:Length",
        "linear": "prefroute.routers.linear:Linear",
        "mf": "prefroute.routers.mf:MF",
        "random": "prefroute.routers.random:Random",
        "sw_ranking": "prefroute.routers.sw_ranking:SWRanking",
    },
    group="prefroute.routers",
)
