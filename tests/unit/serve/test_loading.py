"""What a configuration file makes: models, routes with their policies, and routers that are opened once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from prefroute.calibrate import calibrate
from prefroute.checkpoint import save_checkpoint
from prefroute.embed import open_embedder
from prefroute.embed.remote import RemoteEmbedder
from prefroute.errors import ConfigError, UpstreamUnavailable
from prefroute.http import Endpoint, OpenAIClient
from prefroute.policy import CostQuality, Threshold
from prefroute.routers.knn import KNN
from prefroute.routers.length import Length
from prefroute.serve.loading import load_runtime
from prefroute.serve.runtime import Deadlines, Route, Runtime
from prefroute.testing import HashEmbedder, tiny_outcomes

PROMPTS = [f"prompt number {i} {'x' * i}" for i in range(50)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pair` and `tabled` (length), `pool` and `costed` (knn on big, middle and small)."""
    folder = tmp_path_factory.mktemp("checkpoints")
    pair = Length("big", "small").fit(tiny_outcomes())
    pool = KNN("big", "small", open_embedder("static")).fit(tiny_outcomes())
    save_checkpoint(pair, folder / "pair")
    save_checkpoint(pair, folder / "tabled", metrics={"thresholds": {"0.2": 0.8, "0.6": 0.4}}, policy=Threshold(0.7))
    save_checkpoint(pair, folder / "mistabled", metrics={"thresholds": {"0.2": "high"}})
    save_checkpoint(pool, folder / "pool")
    save_checkpoint(pool, folder / "costed", policy=CostQuality(3.0))
    return folder


MODELS = """\
models:
  big: {base_url: "http://127.0.0.1:1/v1", usd_per_mtok_in: 2, usd_per_mtok_out: 8}
  middle: {base_url: "http://127.0.0.1:1/v1", usd_per_mtok_in: 1, usd_per_mtok_out: 2}
  small: {base_url: "http://127.0.0.1:1/v1", usd_per_mtok_in: 0.1, usd_per_mtok_out: 0.4}
  free: {base_url: "http://127.0.0.1:1/v1"}
"""


@pytest.fixture
def file(checkpoints: Path) -> Path:
    """A configuration file beside the checkpoints, to be written by the test."""
    return checkpoints / "gateway.yaml"


@pytest.fixture
def load(file: Path) -> Callable[..., Runtime]:
    def _load(routes: str = "", models: str = MODELS, previous: Runtime | None = None) -> Runtime:
        file.write_text(models + (f"routes:\n{routes}" if routes else ""), encoding="utf-8")
        return load_runtime(file, previous=previous)[1]

    return _load


@pytest.fixture
def auto(load: Callable[..., Runtime]) -> Callable[..., Route]:
    def _auto(text: str, candidates: str = "[big, small]", router: str = "pair") -> Route:
        return load(f"  auto: {{router: {router}, candidates: {candidates}, {text}}}\n").routes["auto"]

    return _auto


def refused(action, file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(file), "FILE")


def test_model_becomes_what_upstreams_are_called_with(load, monkeypatch):
    monkeypatch.setenv("MY_KEY", "k-1")
    text = """\
models:
  one: {base_url: "http://127.0.0.1:1/v1/", model: org/one, api_key: "${MY_KEY}", capabilities: [tools],
        context_tokens: 8000, timeouts: {total_s: 9}}
  two: {base_url: "https://x.openai.azure.com/v1", api_key: "${MY_KEY}", key_header: api-key, query: {api-version: "1"}}
"""

    models = load(models=text).models

    one, two = models["one"], models["two"]
    assert (one.upstream_name, one.base_url, one.headers) == (
        "org/one",
        "http://127.0.0.1:1/v1",
        {"authorization": "Bearer k-1"},
    )
    assert (one.capabilities, one.context_tokens, one.deadlines) == (frozenset({"tools"}), 8000, Deadlines(total_s=9))
    assert one.price is None
    assert (two.upstream_name, two.headers, two.query) == ("two", {"api-key": "k-1"}, (("api-version", "1"),))
    assert "k-1" not in repr(models)


def test_router_that_ships_serves_without_any_training(load):
    route = load("  auto: {candidates: [big, small]}\n").routes["auto"]

    assert (route.strong, route.weak, route.default, route.fallbacks) == ("big", "small", "big", ("big", "small"))
    assert isinstance(route.policy, Threshold)
    assert 0 <= route.router.win_rate(["What is 2 + 2?"])[0] <= 1


def test_settings_of_a_route_are_taken_over(auto):
    route = auto(
        "policy: {threshold: 0.4}, strong: small, fallbacks: [free], default: middle, epsilon: 0.1, deadline_ms: 20, "
        "sticky: false"
    )

    assert (route.policy, route.strong, route.weak) == (Threshold(0.4), "small", "big")
    assert (route.fallbacks, route.default) == (("free",), "middle")
    assert (route.epsilon, route.deadline_s, route.is_sticky) == (0.1, 0.02, False)


@pytest.mark.parametrize(
    ("candidates", "text", "pair"),
    [
        ("[middle, free]", "", ("middle", "free")),
        ("[middle, free, small]", "", ("middle", "small")),
        ("[small, big]", "", ("big", "small")),  # the router's own names go before the order
        ("[small, middle, big]", "weak: middle", ("big", "middle")),
        ("[small, big]", "strong: small", ("small", "big")),
        ("[small, big]", "weak: big", ("small", "big")),
        ("[middle, free]", "weak: middle", ("free", "middle")),
        ("[middle, free]", "strong: free", ("free", "middle")),
    ],
)
def test_strong_and_weak_are_the_routers_own_or_the_first_and_the_last(auto, candidates, text, pair):
    route = auto(f"policy: {{threshold: 0.5}}, {text}", candidates)

    assert (route.strong, route.weak) == pair


def test_conversations_stay_where_prices_say_what_a_switch_costs(auto):
    assert auto("policy: {threshold: 0.5}").is_sticky
    assert not auto("policy: {threshold: 0.5}", "[big, free]").is_sticky


def test_policy_beside_the_router_is_used_where_the_route_names_none(auto):
    assert auto("", router="tabled").policy == Threshold(0.7)


def test_route_without_any_policy_is_refused(auto, file):
    message = refused(lambda: auto(""), file)

    assert "FILE:7: routes.auto" in message
    assert (
        "neither the route nor its checkpoint has a policy. Add one, such as `policy: {strong_share: 0.3}`" in message
    )


@pytest.mark.parametrize(("share", "alpha"), [(0.2, 0.8), (0.4, 0.6), (0.6, 0.4), (0.1, 0.9), (0, 1.0), (1, 0.0)])
def test_strong_share_is_read_from_the_table_of_the_checkpoint(auto, share, alpha):
    route = auto(f"policy: {{strong_share: {share}}}", router="tabled")

    assert isinstance(route.policy, Threshold)
    assert route.policy.alpha == pytest.approx(alpha)


def test_strong_share_is_chosen_on_the_users_own_prompts(auto, checkpoints):
    (checkpoints / "mine.txt").write_text("\n".join(PROMPTS), encoding="utf-8")

    route = auto("policy: {strong_share: 0.3, prompts: mine.txt}", router="tabled")

    assert route.policy == calibrate(route.router, PROMPTS, strong_share=0.3, n_boot=1).policy
    assert route.policy.choose(route.router.win_rate(PROMPTS)).mean() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("router", "policy", "problem"),
    [
        ("pair", "{strong_share: 0.3}", "the checkpoint has no table of thresholds. Add `prompts: FILE`"),
        ("mistabled", "{strong_share: 0.3}", "The checkpoint's table of thresholds is no table of numbers."),
        ("tabled", "{strong_share: 0.3, prompts: none.txt}", "none.txt' to read prompts from."),
        ("pair", "{usd_weight: 1}", "a length router compares two models and knows no quality of each"),
    ],
)
def test_policy_that_cannot_be_made_is_refused_with_its_line(auto, file, router, policy, problem):
    message = refused(lambda: auto(f"policy: {policy}", router=router), file)

    assert message.startswith("FILE:7: routes.auto.policy: ")
    assert problem in message


def test_pool_router_weighs_quality_against_prices(auto):
    route = auto("policy: {usd_weight: 2}", "[small, middle, big]", router="pool")

    assert route.policy == CostQuality(2)
    assert set(route.candidates) <= set(getattr(route.router, "models"))  # noqa: B009


def test_pool_router_must_know_every_candidate(auto, file):
    models = MODELS.replace("free:", "other:").replace(':1/v1"}', ':1/v1", usd_per_mtok_in: 1, usd_per_mtok_out: 1}')
    file.write_text(models + "routes:\n  auto: {router: pool, candidates: [big, other], policy: {usd_weight: 2}}\n")

    message = refused(lambda: load_runtime(file), file)

    assert "the router cannot score every candidate. Unknown model 'other'." in message


def test_saved_policy_that_weighs_prices_needs_them(load, file):
    models = MODELS.replace(", usd_per_mtok_in: 1, usd_per_mtok_out: 2", "")

    message = refused(lambda: load("  auto: {router: costed, candidates: [big, middle]}\n", models), file)

    assert "weighs quality against prices. Give every candidate its prices." in message


def test_checkpoints_that_cannot_be_opened_are_all_named_with_their_lines(load, checkpoints, file):
    (checkpoints / "weights.pt").write_bytes(b"\x80\x04")
    (checkpoints / "empty").mkdir(exist_ok=True)
    routes = "".join(
        f"  {name}: {{router: {name}, candidates: [big, small]}}\n" for name in ("none", "weights.pt", "empty")
    )

    message = refused(lambda: load(routes), file)

    assert message.startswith("FILE: 3 problems: FILE:7: routes.none.router: ")
    assert "is not a folder" in message
    assert "FILE:8: routes.weights.pt.router: " in message
    assert "is of an unsafe format" in message
    assert "FILE:9: routes.empty.router: " in message


def test_folder_is_opened_once_for_all_its_routes(load):
    routes = load(
        "  one: {router: tabled, candidates: [big, small]}\n"
        "  two: {router: ./tabled, candidates: [middle, small], policy: {threshold: 0.1}}\n"
    ).routes

    assert routes["one"].router is routes["two"].router
    assert routes["two"].policy == Threshold(0.1)


def test_router_that_has_not_changed_is_taken_from_what_was_served(load, checkpoints):
    text = "  auto: {router: changing, candidates: [big, small]}\n"
    pair = Length("big", "small").fit(tiny_outcomes())
    save_checkpoint(pair, checkpoints / "changing", policy=Threshold(0.5))
    first = load(text)
    same = load(text, previous=first)

    save_checkpoint(pair, checkpoints / "changing", policy=Threshold(0.6))
    other_policy = load(text, previous=same)
    save_checkpoint(Length("big", "middle").fit(tiny_outcomes()), checkpoints / "changing", policy=Threshold(0.6))
    other_router = load(text, previous=other_policy)

    assert same.routes["auto"].router is first.routes["auto"].router
    assert other_policy.routes["auto"].router is first.routes["auto"].router
    assert other_policy.routes["auto"].policy == Threshold(0.6)
    assert other_router.routes["auto"].router.weak == "middle"


class FakeRemote(RemoteEmbedder):
    """A remote embedder that answers by itself."""

    def __init__(self) -> None:
        super().__init__("m", OpenAIClient(Endpoint("http://127.0.0.1:1/v1")), dim=16)

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        return HashEmbedder(16).encode(prompts)


def test_router_whose_embedder_is_remote_says_so(load, checkpoints, monkeypatch):
    save_checkpoint(KNN("big", "small", FakeRemote()).fit(tiny_outcomes()), checkpoints / "far", policy=Threshold(0.5))
    monkeypatch.setattr("prefroute.embed.open_embedder", lambda spec: FakeRemote())

    routes = load(
        "  far: {router: far, candidates: [big, small]}\n  near: {router: tabled, candidates: [big, small]}\n"
    ).routes

    assert (routes["far"].is_remote, routes["near"].is_remote) == (True, False)


def test_remote_embedder_that_does_not_answer_is_no_mistake_in_the_file(load, checkpoints, monkeypatch):
    save_checkpoint(KNN("big", "small", FakeRemote()).fit(tiny_outcomes()), checkpoints / "gone", policy=Threshold(0.5))

    def gone(spec: str) -> RemoteEmbedder:
        raise UpstreamUnavailable("127.0.0.1:1 cannot be reached.")

    monkeypatch.setattr("prefroute.embed.open_embedder", gone)

    with pytest.raises(UpstreamUnavailable):
        load("  far: {router: gone, candidates: [big, small]}\n")


def test_digest_names_file_router_and_policy(load, checkpoints):
    text = "  auto: {router: digested, candidates: [big, small]}\n"
    pair = Length("big", "small").fit(tiny_outcomes())
    save_checkpoint(pair, checkpoints / "digested", policy=Threshold(0.5))

    digests = [load(text).digest, load(text).digest, load(f"{text}  # changed\n").digest]
    save_checkpoint(pair, checkpoints / "digested", policy=Threshold(0.6))
    digests.append(load(text).digest)
    save_checkpoint(Length("big", "middle").fit(tiny_outcomes()), checkpoints / "digested", policy=Threshold(0.6))
    digests.append(load(text).digest)

    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_policy_of_another_router_is_refused(load, checkpoints, file):
    save_checkpoint(Length("big", "middle").fit(tiny_outcomes()), checkpoints / "middle", policy=Threshold(0.5))
    save_checkpoint(Length("big", "small").fit(tiny_outcomes()), checkpoints / "mixed")
    (checkpoints / "middle" / "policy.json").rename(checkpoints / "mixed" / "policy.json")

    message = refused(lambda: load("  auto: {router: mixed, candidates: [big, small]}\n"), file)

    assert "FILE:7: routes.auto.router: Policy was calibrated for router " in message


@pytest.mark.parametrize(
    ("candidates", "strong", "weak"),
    [("[big, small]", "big", "small"), ("[middle, big]", "big", "middle"), ("[small, middle]", "middle", "small")],
)
def test_candidate_with_the_name_of_one_of_the_routers_models_stands_for_it(load, candidates, strong, weak):
    route = load(f"  auto: {{router: pair, candidates: {candidates}, policy: {{threshold: 0.5}}}}\n").routes["auto"]

    assert (route.strong, route.weak) == (strong, weak)


def test_pair_that_is_only_guessed_is_refused_where_its_strong_model_costs_less(load):
    route = "  auto: {{router: pair, candidates: [little, large], policy: {{threshold: 0.5}}{said}}}\n"
    models = MODELS.replace("  big:", "  large:").replace("  small:", "  little:")

    with pytest.raises(ConfigError, match=r"'little' would stand for the strong model .* costs less"):
        load(route.format(said=""), models)
    assert load(route.format(said=", strong: little"), models).routes["auto"].strong == "little"
