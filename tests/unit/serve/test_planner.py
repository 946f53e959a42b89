"""Who answers: names, capabilities, policies, exploration, prompt caches."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.unit.serve.fakes import ScriptedPool, ScriptedRouter, model, route, runtime

from prefroute.policy import CostQuality
from prefroute.serve.conversation import Conversation, read_conversation
from prefroute.serve.faults import Fault
from prefroute.serve.planner import Plan, Planner, resolve
from prefroute.serve.runtime import Runtime
from prefroute.serve.stickiness import WARM_S, WarmPrefixes, request_usd
from prefroute.testing import HashEmbedder


def ask(text: str = "an easy one", **fields: Any) -> Conversation:
    return read_conversation({"messages": [{"role": "user", "content": text}], **fields})


def planned(
    there: Runtime, requested: str = "auto", conversation: Conversation | None = None, *, planner: Planner | None = None
) -> Plan:
    planner = planner or Planner()
    target = resolve(there, requested, may_choose_threshold=True)
    return asyncio.run(planner.plan(there, target, conversation or ask()))


class OtherRouter(ScriptedRouter):
    kind = "other"


class TestNames:
    def test_a_model_that_is_named_answers_without_being_scored(self):
        router = ScriptedRouter(lambda text: 1.0)

        plan = planned(runtime(route(router)), "small")

        assert (plan.order, plan.reason, plan.route, plan.win_rate) == (("small",), "named", None, None)
        assert router.calls == []

    @pytest.mark.parametrize("name", ["router-auto-0.95", "router-scripted-0.95"])
    def test_a_threshold_in_the_name_takes_the_place_of_the_routes(self, name):
        plan = planned(runtime(), name, ask("a hard one"))

        assert (plan.chosen, plan.route, plan.threshold) == ("small", "auto", 0.95)
        assert plan.win_rate == pytest.approx(0.9)

    def test_a_threshold_needs_the_right(self):
        with pytest.raises(Fault, match="may not choose a threshold") as caught:
            resolve(runtime(), "router-auto-0.1", may_choose_threshold=False)

        assert (caught.value.status, caught.value.code) == (403, "permission_denied")

    def test_a_name_with_a_threshold_is_the_route_that_rights_are_about(self):
        assert resolve(runtime(), "router-scripted-0.1", may_choose_threshold=True).name == "auto"

    @pytest.mark.parametrize(("threshold", "status"), [("1.5", 400), ("-0.5", 404), ("nan", 404)])
    def test_a_threshold_outside_its_range_is_refused(self, threshold, status):
        with pytest.raises(Fault) as caught:
            resolve(runtime(), f"router-auto-{threshold}", may_choose_threshold=True)

        assert caught.value.status == status  # "-0.5" reads as the unknown router "auto-"

    @pytest.mark.parametrize("name", ["router-scripted-0.1", "router-default-0.1"])
    def test_a_router_is_called_by_its_kind_or_by_its_name_in_the_configuration(self, name):
        there = runtime(route(router_name="default"), route(OtherRouter(lambda text: 0.5), name="other"))

        assert resolve(there, name, may_choose_threshold=True).name == "auto"

    def test_a_router_of_two_routes_is_no_name_for_either_but_a_routes_name_is(self):
        there = runtime(route(), route(name="other"), route(name="third"))

        with pytest.raises(
            Fault, match=r"Several routes .* 'scripted'\. Name the route instead: auto, third\."
        ) as caught:
            resolve(there, "router-scripted-0.1", may_choose_threshold=True, may_ask=lambda name: name != "other")

        assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_value", "model")
        assert resolve(there, "router-other-0.1", may_choose_threshold=True).name == "other"

    def test_what_a_key_may_not_ask_for_is_not_told_to_it(self):
        with pytest.raises(Fault, match=r"Available: small\.$"):
            resolve(runtime(), "nobody", may_choose_threshold=False, may_ask=lambda name: name == "small")

    @pytest.mark.parametrize("name", ["atuo", "router-mf-0.1", "router-auto", "gpt-4", ""])
    def test_an_unknown_name_is_not_found_and_the_nearest_is_named(self, name):
        with pytest.raises(Fault) as caught:
            resolve(runtime(), name, may_choose_threshold=False)

        assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
        assert "Available: auto, big, small." in caught.value.message

    def test_a_megabyte_of_a_name_is_not_compared_nor_repeated(self):
        with pytest.raises(Fault) as caught:
            resolve(runtime(), "x" * 1_000_000, may_choose_threshold=True)

        assert len(caught.value.message) < 300

    def test_a_model_that_is_called_like_a_threshold_is_itself(self):
        there = runtime(models=[model("big"), model("small"), model("router-auto-0.5")])

        assert resolve(there, "router-auto-0.5", may_choose_threshold=False).route is None


class TestPair:
    def test_the_policy_chooses_and_the_other_candidate_stands_in(self):
        hard, easy = planned(runtime(), conversation=ask("a hard one")), planned(runtime())

        assert (hard.order, easy.order) == (("big", "small"), ("small", "big"))
        assert (hard.reason, hard.propensity, hard.threshold) == ("policy", 1.0, 0.5)
        assert easy.win_rate == pytest.approx(0.1)
        assert easy.router == "f" * 64

    def test_no_fallbacks_means_that_nobody_stands_in(self):
        assert planned(runtime(route(fallbacks=()))).order == ("small",)

    def test_a_request_goes_only_to_models_that_declare_what_it_needs(self):
        router = ScriptedRouter(lambda text: 0.0)
        there = runtime(route(router), models=[model("big", capabilities=frozenset({"tools"})), model("small")])

        plan = planned(there, conversation=ask(tools=[{"type": "function"}]))

        assert (plan.order, plan.reason, plan.win_rate) == (("big",), "only_capable", None)
        assert router.calls == []

    def test_a_fallback_that_cannot_take_the_request_is_left_out(self):
        wide = frozenset({"tools"})
        models = [model("big", capabilities=wide), model("small", capabilities=wide), model("text")]

        plan = planned(runtime(route(fallbacks=("text", "big")), models=models), conversation=ask(tools=[{}]))

        assert plan.order == ("small", "big")

    def test_a_request_longer_than_a_context_goes_to_a_longer_one(self):
        there = runtime(models=[model("big", context_tokens=100_000), model("small", context_tokens=2000)])

        assert planned(there, conversation=ask("x" * 9000)).reason == "only_capable"
        assert planned(there, conversation=ask("short", max_tokens=4000)).chosen == "big"
        assert planned(there, conversation=ask("short", max_tokens=400)).chosen == "small"

    def test_a_request_that_may_be_too_long_goes_where_there_is_room_for_sure(self):
        small = model("small", context_tokens=2000)
        tight = ask("x" * 7000)  # 1,754 by the estimate, 2,192 with its margin

        assert planned(runtime(models=[model("big"), small]), conversation=tight).order == ("big",)
        assert planned(runtime(models=[model("big"), small]), conversation=ask("x" * 6000)).chosen == "small"
        only_small = runtime(models=[model("big", context_tokens=500), small])
        assert planned(only_small, conversation=tight).order == ("small",)

    def test_where_neither_of_the_pair_can_the_first_candidate_that_can_does(self):
        models = [model("big"), model("small"), model("eyes", capabilities=frozenset({"images"}))]
        there = runtime(route(candidates=("big", "eyes", "small")), models=models)

        plan = planned(there, conversation=Conversation("text", needs=frozenset({"images"})))

        assert (plan.order, plan.reason) == (("eyes",), "only_capable")

    @pytest.mark.parametrize(
        ("capabilities", "needs", "message"),
        [
            ((), {"images", "tools"}, "no candidate declares tools or images"),
            (({"tools"}, {"images"}), {"images", "tools"}, "no candidate declares all of tools, images"),
            (({"tools"}, {"tools"}), {"tools"}, "about 5000 tokens fit no candidate's context; the longest is 4096"),
        ],
    )
    def test_a_request_that_nobody_can_take_is_refused_by_what_is_missing(self, capabilities, needs, message):
        big, small = capabilities if capabilities else ({}, {})
        models = [
            model("big", capabilities=frozenset(big), context_tokens=4096),
            model("small", capabilities=frozenset(small), context_tokens=1024),
        ]

        with pytest.raises(Fault, match=message) as caught:
            planned(runtime(models=models), conversation=Conversation("t", frozenset(needs), tokens_in=5000))

        assert (caught.value.status, caught.value.code) == (400, "unsupported_content")

    def test_an_empty_text_goes_to_the_default(self):
        plan = planned(runtime(route(default="small")), conversation=ask("  "))

        assert (plan.chosen, plan.reason, plan.propensity) == ("small", "nothing_to_score", 1.0)

    @pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1, float("inf")])
    def test_a_score_that_is_no_win_rate_goes_to_the_default(self, score):
        plan = planned(runtime(route(ScriptedRouter(lambda text: score))))

        assert (plan.chosen, plan.reason, plan.win_rate) == ("big", "scorer_error", None)

    def test_a_default_that_cannot_take_the_request_gives_way_to_one_that_can(self):
        tools = frozenset({"tools"})
        models = [model("big", capabilities=tools), model("small", capabilities=tools), model("text")]
        there = runtime(route(ScriptedRouter(lambda text: float("nan")), default="text"), models=models)

        assert planned(there, conversation=ask(tools=[{}])).chosen == "big"


class TestPool:
    MODELS = (model("a", 100.0, 100.0), model("b", 1.0, 1.0), model("c", 0.01, 0.01))

    def there(self, usd_weight: float, **fields: Any) -> Runtime:
        pool = ScriptedPool({"c": 0.2, "a": 0.9, "b": 0.8})
        names = tuple(each.name for each in self.MODELS)
        fields = {"candidates": names, "fallbacks": names, "strong": "a", "weak": "c", "default": "a"} | fields
        return runtime(route(pool, CostQuality(usd_weight), **fields), models=self.MODELS)

    @pytest.mark.parametrize(("usd_weight", "chosen"), [(0.0, "a"), (10.0, "b"), (1e5, "c")])
    def test_dollars_are_weighed_against_quality(self, usd_weight, chosen):
        plan = planned(self.there(usd_weight))

        assert plan.chosen == chosen
        assert plan.scores == {"a": 0.9, "b": 0.8, "c": 0.2}
        assert (plan.win_rate, plan.threshold) == (None, None)

    def test_a_longer_request_costs_more_and_moves_the_choice(self):
        there = self.there(usd_weight=2.0)  # a - b: 0.1 of quality, 99 USD a million tokens

        # 0.1 / 2 / 99e-6 = 505 tokens in and out, of which 264 are the answer
        assert planned(there, conversation=Conversation("t", tokens_in=200)).chosen == "a"
        assert planned(there, conversation=Conversation("t", tokens_in=300)).chosen == "b"

    def test_a_threshold_in_the_name_turns_a_pool_into_a_pair(self):
        plan = planned(self.there(0.0), "router-auto-0.6")

        assert (plan.chosen, plan.win_rate, plan.threshold) == ("c", 0.5, 0.6)

    def test_only_capable_models_are_weighed(self):
        models = (
            *self.MODELS[:1],
            model("b", capabilities=frozenset({"images"})),
            model("c", capabilities=frozenset()),
        )
        there = self.there(0.0)

        plan = planned(
            Runtime({each.name: each for each in models}, there.routes, "d"),
            conversation=Conversation("t", needs=frozenset({"images"})),
        )

        assert (plan.order, plan.reason) == (("b",), "only_capable")


class TestExploration:
    def test_propensities_are_exact_and_sum_to_one(self):
        models = [model("big"), model("small"), model("third")]
        there = runtime(route(candidates=("big", "small", "third"), epsilon=0.3), models=models)
        planner = Planner(draw=random.Random(0))
        target = resolve(there, "auto", may_choose_threshold=False)

        async def many() -> list[Plan]:
            return [await planner.plan(there, target, ask()) for _ in range(3000)]

        plans = asyncio.run(many())

        propensity = {plan.chosen: plan.propensity for plan in plans}
        assert propensity == {"small": pytest.approx(0.8), "big": pytest.approx(0.1), "third": pytest.approx(0.1)}
        counts = Counter(plan.chosen for plan in plans)
        for name, expected in propensity.items():  # four standard deviations
            assert abs(counts[name] / 3000 - expected) < 4 * np.sqrt(expected * (1 - expected) / 3000)
        assert {plan.reason for plan in plans if plan.chosen != "small"} == {"explored"}

    @pytest.mark.parametrize("text", ["", "broken"])
    def test_what_no_policy_chose_is_not_explored(self, text):
        def score(asked: str) -> float:
            raise ValueError(asked)

        plan = planned(runtime(route(ScriptedRouter(score), epsilon=0.99)), conversation=ask(text))

        assert (plan.chosen, plan.propensity) == ("big", 1.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestPromptCaches:
    """A conversation of 20,000 tokens; big costs 1.00 and small 0.50 USD a million tokens, cached 0.10 of that."""

    LONG = Conversation("an easy one", tokens_in=20_000, max_tokens_out=100, prefix_key=b"one")

    def planner(self) -> Planner:
        return Planner(prefixes=WarmPrefixes(clock=Clock()))

    def there(self, **fields: Any) -> Runtime:
        models = [model("big", 1.0, 1.0, cached_share=0.1), model("small", 0.5, 0.5, cached_share=0.1)]
        return runtime(route(**{"is_sticky": True} | fields), models=models)

    def served_by_big(self, planner: Planner, there: Runtime) -> None:
        planner.remember(planned(there, conversation=self.LONG, planner=planner), "big")

    def test_what_a_request_costs_with_and_without_a_cache(self):
        big, small = self.there().models.values()

        # cold small: (20,000 + 100) * 0.5 = 10,050 of a millionth; warm big: 20,000 * 0.1 + 100 = 2,100
        assert request_usd(small, 20_000, 100) == pytest.approx(0.010050)
        assert request_usd(big, 20_000, 100, warm_tokens=20_000) == pytest.approx(0.002100)
        assert request_usd(big, 20_000, 100, warm_tokens=99_000) == pytest.approx(0.002100)

    def test_a_conversation_stays_where_a_switch_costs_more_than_it_saves(self):
        planner, there = self.planner(), self.there()
        assert planned(there, conversation=self.LONG, planner=planner).chosen == "small"

        self.served_by_big(planner, there)
        plan = planned(there, conversation=self.LONG, planner=planner)

        assert (plan.chosen, plan.reason, plan.propensity) == ("big", "sticky", 1.0)
        assert plan.win_rate == pytest.approx(0.1)

    def test_a_conversation_moves_where_the_switch_saves_more(self):
        planner, there = self.planner(), self.there()
        self.served_by_big(planner, there)
        grown = Conversation("an easy one", tokens_in=60_000, max_tokens_out=100, prefix_key=b"one")

        # big: 20,000 * 0.1 + 40,000 + 100 = 42,100; small: 60,100 * 0.5 = 30,050
        assert planned(there, conversation=grown, planner=planner).chosen == "small"

    def test_a_weak_model_that_is_warm_too_is_cheaper_again(self):
        planner, there = self.planner(), self.there()
        self.served_by_big(planner, there)
        planner.remember(planned(there, conversation=self.LONG, planner=planner), "small")

        assert planned(there, conversation=self.LONG, planner=planner).chosen == "small"

    def test_what_the_policy_asks_the_strong_model_for_is_never_held_back(self):
        planner, there = self.planner(), self.there()
        planner.remember(planned(there, conversation=self.LONG, planner=planner), "small")
        hard = Conversation("a hard one", tokens_in=20_000, prefix_key=b"one")

        assert planned(there, conversation=hard, planner=planner).chosen == "big"

    def test_a_cache_is_forgotten_after_its_time(self):
        clock = Clock()
        planner, there = Planner(prefixes=WarmPrefixes(clock=clock)), self.there()
        self.served_by_big(planner, there)

        clock.now = WARM_S + 1

        assert planned(there, conversation=self.LONG, planner=planner).chosen == "small"

    def test_conversations_keys_and_routes_without_stickiness_share_nothing(self):
        planner, there = self.planner(), self.there()
        self.served_by_big(planner, there)
        other = Conversation("an easy one", tokens_in=20_000, max_tokens_out=100, prefix_key=b"two")

        assert planned(there, conversation=other, planner=planner).chosen == "small"
        elsewhere = planner.plan(there, resolve(there, "auto", may_choose_threshold=False), self.LONG, key_id="another")
        assert asyncio.run(elsewhere).chosen == "small"
        assert planned(self.there(is_sticky=False), conversation=self.LONG, planner=planner).chosen == "small"

    def test_models_that_cost_nothing_do_not_hold_a_conversation(self):
        planner = self.planner()
        there = runtime(route(is_sticky=True), models=[model("big", 0.0, 0.0), model("small", 0.0, 0.0)])
        self.served_by_big(planner, there)

        assert planned(there, conversation=self.LONG, planner=planner).chosen == "small"

    def test_a_pool_weighs_the_prices_with_the_caches_counted(self):
        planner = self.planner()
        pool = ScriptedPool({"big": 0.9, "small": 0.895})
        there = self.there(router=pool, policy=CostQuality(1.0))
        assert planned(there, conversation=self.LONG, planner=planner).chosen == "small"

        self.served_by_big(planner, there)
        plan = planned(there, conversation=self.LONG, planner=planner)

        assert (plan.chosen, plan.reason) == ("big", "sticky")

    def test_the_oldest_conversations_are_forgotten_and_short_ones_never_kept(self):
        prefixes = WarmPrefixes(most=2, clock=Clock())
        for key in (b"1", b"2", b"1", b"3"):
            prefixes.remember(key, "big", 2000)
        prefixes.remember(b"4", "big", 100)

        assert [prefixes.tokens(key, "big") for key in (b"1", b"2", b"3", b"4")] == [2000, 0, 2000, 0]
        assert len(prefixes) == 2


class TestEmbedding:
    def test_the_embedding_is_what_the_routers_embedder_gives(self):
        router = ScriptedRouter(lambda text: 0.5)
        router.embedder = HashEmbedder(8)  # type: ignore[attr-defined]
        there = runtime(route(router, deadline_s=20))
        planner = Planner()

        async def embed() -> tuple[bytes, str] | None:
            plan = await planner.plan(there, resolve(there, "auto", may_choose_threshold=False), ask())
            return await planner.embedding(there, plan, "an easy one")

        found = asyncio.run(embed())

        assert found is not None
        assert found[1] == "hash-8"
        wanted = HashEmbedder(8).encode(["an easy one"])[0]
        np.testing.assert_array_equal(np.frombuffer(found[0], dtype="<f2"), wanted.astype(np.float16))

    def test_a_router_without_an_embedder_has_no_embedding(self):
        assert (
            asyncio.run(Planner().embedding(runtime(), Plan(order=("big",), reason="policy", route="auto"), "t"))
            is None
        )
