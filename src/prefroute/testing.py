"""What other packages test their routers with: the contract every router keeps, tiny data and a fake embedder.

The door is `check_router`, or `router_checks` for a test runner that wants one test for each promise:

    @pytest.mark.parametrize("check", router_checks(), ids=lambda check: check.__name__)
    def test_contract(check):
        check(lambda: MyRouter("big", "small"))

Needs no test framework: a broken promise raises AssertionError with a sentence that says which.

A factory makes a new unfitted router for the pair ("big", "small"); it may use `HashEmbedder()`. Of a kind that learns
from no table (its `learns_from` is empty) it makes one that is ready to score.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefroute.checkpoint import fingerprint, open_checkpoint, save_checkpoint
from prefroute.errors import DataError, NotFittedError
from prefroute.routers import PoolRouter, Router
from prefroute.types import Battles, FloatArray, Mixture, Outcomes, Source

__all__ = ["TOLERANCE", "HashEmbedder", "check_router", "router_checks", "tiny_battles", "tiny_outcomes"]

TOLERANCE = 1e-6
"""How far a score may move with order or batch size: matrix products round differently for different shapes."""

Factory = Callable[[], Router]
Check = Callable[[Factory], None]
Data = Battles | Outcomes

_TOPICS = ("add two numbers", "prove a theorem", "write a poem", "translate a letter", "fix a bug", "plan a trip")
_ODD = (
    "",
    " \n\t ",
    "x" * 100_000,
    "\U0001f600\U0001f3fd family",
    "a lone surrogate \ud800 here",
    "a NUL \0 here",
    "ß",
)
_PRIVATE = "do not show this prompt"


class HashEmbedder:
    """A fake embedder: each word adds a random direction that its hash chooses. Equal words, equal vectors.

    Args:
        dim: Length of a vector, at least 1.

    Example:
        >>> HashEmbedder(4).encode(["one word", "word one", ""]).shape
        (3, 4)
    """

    trained_on: frozenset[str] = frozenset()

    def __init__(self, dim: int = 16) -> None:
        self.dim = dim
        self.id = self.spec = f"hash-{dim}"

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, zeros for one without words, shape (n, d)."""
        vectors = np.zeros((len(prompts), self.dim), dtype=np.float32)
        for row, prompt in enumerate(prompts):
            for word in prompt.split()[:1000]:
                digest = hashlib.sha256(word[:1000].encode("utf-8", "replace")).digest()
                rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
                vectors[row] += rng.standard_normal(self.dim, dtype=np.float32)
        return vectors


def tiny_battles(n: int = 60, seed: int = 0) -> Battles:
    """Votes between "big", "small" and "middle" on short prompts of six topics; ties among them.

    Example:
        >>> tiny_battles()
        Battles(n=60, models=3)
    """
    rng = np.random.default_rng(seed)
    first = rng.integers(3, size=n)
    second = (first + rng.integers(1, 3, size=n)) % 3
    skill = np.array([1.0, 0.2, -0.6])  # big, middle, small
    chance = 1 / (1 + np.exp(skill[second] - skill[first]))
    outcome = np.where(rng.random(n) < 0.2, 0.5, rng.random(n) < chance)
    names = ("big", "middle", "small")
    return Battles(_prompts(n), names, first.astype(np.int32), second.astype(np.int32), outcome)


def tiny_outcomes(n: int = 60, seed: int = 0) -> Outcomes:
    """Right and wrong answers of "big", "middle" and "small" to short prompts of six topics; one cell in ten is NaN.

    Example:
        >>> tiny_outcomes()
        Outcomes(n=60, models=3)
    """
    rng = np.random.default_rng(seed)
    quality = (rng.random((n, 3)) < np.array([0.9, 0.6, 0.4])).astype(np.float64)
    quality[rng.random((n, 3)) < 0.1] = np.nan
    return Outcomes(_prompts(n), ("big", "middle", "small"), quality)


def router_checks(*, learns: bool = True) -> list[Check]:
    """The promises that every router keeps, each a function that takes a factory; its name says the promise.

    Args:
        learns: Whether the kind learns from tables: whether its `learns_from` names any.
    """
    fitting = [
        fit_returns_self,
        fitting_twice_gives_one_router,
        fit_leaves_its_data_untouched,
        fit_learns_from_battles_or_says_why_not,
        fit_learns_from_outcomes_with_missing_cells_or_says_why_not,
        fit_learns_from_a_mixture_or_says_why_not,
        fit_refuses_what_is_neither_battles_nor_outcomes,
        fit_refuses_an_empty_table,
    ]
    return [
        constructor_only_stores_its_arguments,
        constructor_does_no_work,
        unfitted_router_refuses_to_score,
        *(fitting if learns else [fit_refuses_every_table]),
        scores_are_finite_and_between_0_and_1,
        no_prompts_give_no_scores,
        one_string_is_refused,
        order_does_not_change_a_score,
        batch_size_does_not_change_a_score,
        duplicates_score_equally,
        odd_texts_are_scored,
        state_is_finite,
        a_saved_router_scores_the_same_when_loaded,
        repr_shows_arguments_and_no_prompts,
    ]


def check_router(factory: Factory) -> list[str]:
    """Hold a router to the whole contract; returns the names of the promises that it kept.

    Args:
        factory: Makes a new unfitted router of the pair ("big", "small"); a ready one of a kind that learns nothing.

    Raises:
        AssertionError: At the first promise that it breaks, with a sentence that says which.
    """
    checks = router_checks(learns=bool(factory().learns_from))
    for check in checks:
        check(factory)
    return [check.__name__ for check in checks]


def constructor_only_stores_its_arguments(factory: Factory) -> None:
    """Every argument of the constructor is found under its own name, and `params` gives all but the embedder."""
    router = factory()
    names = set(inspect.signature(type(router)).parameters)
    for name in names:
        _demand(hasattr(router, name), f"the constructor must store its argument {name!r} under that name")
    _demand(set(router.params()) == names - {"embedder"}, "`params` must give every argument but the embedder")
    _demand(type(router).uses_embedder == ("embedder" in names), "`uses_embedder` must say whether it takes one")
    _demand((router.strong, router.weak) == ("big", "small"), "the factory must make the pair ('big', 'small')")


def constructor_does_no_work(factory: Factory) -> None:
    """Nothing is set but the arguments, and the class has its registered name."""
    router = _unfitted(factory)
    _demand(isinstance(getattr(router, "kind", None), str), "the class must have a `kind`")
    extra = set(vars(router)) - set(inspect.signature(type(router)).parameters)
    _demand(not extra, f"the constructor must only store its arguments, it also sets {sorted(extra)}")


def unfitted_router_refuses_to_score(factory: Factory) -> None:
    """`win_rate`, `predict` and `state` raise NotFittedError before `fit`."""
    router = _unfitted(factory)
    calls: list[Callable[[], object]] = [lambda: router.win_rate(["hi"]), router.state]
    if isinstance(router, PoolRouter):
        calls.append(lambda: router.predict(["hi"]))
    for call in calls:
        try:
            call()
        except NotFittedError:
            continue
        raise AssertionError(f"{_name(router)}: an unfitted router must raise NotFittedError")


def fit_returns_self(factory: Factory) -> None:
    """`fit` returns the router itself."""
    router = factory()
    _demand(router.fit(_data(factory)) is router, "`fit` must return self")


def fitting_twice_gives_one_router(factory: Factory) -> None:
    """The same data and seed give the same fingerprint, also when a fitted router is fitted again."""
    data, router = _data(factory), _fitted(factory)
    first = fingerprint(router)
    _demand(fingerprint(_fitted(factory)) == first, "two routers fitted on the same data must be equal")
    _demand(fingerprint(router.fit(data)) == first, "fitting again on the same data must give the same router")


def fit_leaves_its_data_untouched(factory: Factory) -> None:
    """`fit` changes no array and no list of its data."""
    data = _data(factory)
    before = copy.deepcopy(data)
    factory().fit(data)
    for name in data.__slots__:
        now, then = (np.asarray(getattr(table, name), dtype=object).astype(str) for table in (data, before))
        _demand(bool(np.array_equal(now, then)), f"`fit` must leave its data untouched, it changed {name!r}")


def fit_learns_from_battles_or_says_why_not(factory: Factory) -> None:
    """Battles are learned from, or refused by DataError."""
    _fit_or_refuse(factory(), tiny_battles())


def fit_learns_from_outcomes_with_missing_cells_or_says_why_not(factory: Factory) -> None:
    """Outcomes with NaN cells are learned from without a NaN in the scores, or refused by DataError."""
    router = factory()
    if _fit_or_refuse(router, tiny_outcomes()) and isinstance(router, PoolRouter):
        quality = router.predict(_prompts(8))
        _demand(quality.shape == (8, len(router.models)), "`predict` must give one column for each of `models`")
        _demand(quality.dtype == np.float64, "`predict` must give float64")
        _demand(bool(((quality >= 0) & (quality <= 1)).all()), "`predict` must stay within [0, 1]")
        _demand(router.predict([]).shape == (0, len(router.models)), "`predict` of nothing must have shape (0, m)")


def fit_learns_from_a_mixture_or_says_why_not(factory: Factory) -> None:
    """Sources with weights, and one with a pair of its own, are learned from, or refused by DataError."""
    votes = Source("votes", tiny_battles(), "big", "small", weight=2.0)
    _fit_or_refuse(factory(), Mixture((votes, Source("graded", tiny_outcomes(), "middle", "small", weight=0.5))))


def fit_refuses_what_is_neither_battles_nor_outcomes(factory: Factory) -> None:
    """A list is refused by DataError, whose message says what was wanted."""
    wanted = factory().learns_from[0].__name__
    _refused(lambda: factory().fit([("hi", 1.0)]), "`fit` on a list", wanted)  # type: ignore[arg-type]


def fit_refuses_an_empty_table(factory: Factory) -> None:
    """A table without rows is refused by DataError."""
    empty = tiny_battles().take(np.arange(0)) if isinstance(_data(factory), Battles) else tiny_outcomes(0)
    _refused(lambda: factory().fit(empty), "`fit` on an empty table", "")


def fit_refuses_every_table(factory: Factory) -> None:
    """Battles and outcomes are refused by DataError, where a kind learns from neither."""
    for data in (tiny_battles(), tiny_outcomes()):
        _refused(functools.partial(factory().fit, data), "`fit`", type(data).__name__)


def scores_are_finite_and_between_0_and_1(factory: Factory) -> None:
    """`win_rate` gives float64 of shape (n,), finite, in [0, 1]."""
    _sound(_fitted(factory).win_rate(_prompts(40)), 40)


def no_prompts_give_no_scores(factory: Factory) -> None:
    """`win_rate([])` has shape (0,)."""
    _sound(_fitted(factory).win_rate([]), 0)


def one_string_is_refused(factory: Factory) -> None:
    """A string in place of a list is refused by DataError: its characters are no prompts."""
    router = _fitted(factory)
    _refused(lambda: router.win_rate("hi"), "`win_rate` of one string", "list")


def order_does_not_change_a_score(factory: Factory) -> None:
    """Shuffled prompts get the shuffled scores, within `TOLERANCE`."""
    router, prompts = _fitted(factory), _prompts(40)
    order = np.random.default_rng(1).permutation(40)
    shuffled = router.win_rate([prompts[i] for i in order])
    _close(router.win_rate(prompts)[order], shuffled, "the order of prompts must not change a score")


def batch_size_does_not_change_a_score(factory: Factory) -> None:
    """Prompts one by one, or 600 at once, get the same scores, within `TOLERANCE`."""
    router, prompts = _fitted(factory), _prompts(20)
    together = router.win_rate(prompts)
    alone = np.concatenate([router.win_rate([prompt]) for prompt in prompts])
    _close(together, alone, "a prompt alone must score as in a batch")
    _close(np.tile(together, 30), router.win_rate(prompts * 30), "a prompt must score the same in a large batch")


def duplicates_score_equally(factory: Factory) -> None:
    """The same prompt twice in one call gets one score, within `TOLERANCE`."""
    scores = _fitted(factory).win_rate(["fix a bug", "plan a trip", "fix a bug"])
    _close(scores[:1], scores[2:], "duplicates must score equally")


def odd_texts_are_scored(factory: Factory) -> None:
    """Empty, blank, 100 KB, emoji, a lone surrogate and NUL are scored like any other prompt."""
    _sound(_fitted(factory).win_rate(_ODD), len(_ODD))


def state_is_finite(factory: Factory) -> None:
    """No array of the state holds NaN or infinity, nor Python objects."""
    for name, array in _fitted(factory).state().arrays.items():
        _demand(array.dtype.kind in "biuf", f"the state's array {name!r} must be numeric")
        _demand(bool(np.isfinite(array).all()), f"the state's array {name!r} must be finite")


def a_saved_router_scores_the_same_when_loaded(factory: Factory) -> None:
    """A checkpoint gives bit-equal scores and the same fingerprint."""
    router, prompts = _fitted(factory), _prompts(20)
    with tempfile.TemporaryDirectory() as folder:
        saved = save_checkpoint(router, Path(folder) / "router")
        loaded = open_checkpoint(Path(folder) / "router", embedder=getattr(router, "embedder", None))
    _demand(loaded.fingerprint == saved, "a loaded router must have the fingerprint that was saved")
    _demand(type(loaded.router) is type(router), "a loaded router must be of the same class: is its `kind` registered?")
    same = np.array_equal(loaded.router.win_rate(prompts), router.win_rate(prompts))
    _demand(same, "a loaded router must give bit-equal scores")


def repr_shows_arguments_and_no_prompts(factory: Factory) -> None:
    """`repr` names the class and its arguments, in at most 1,000 characters, and shows no training prompt."""
    data = tiny_battles() if isinstance(_data(factory), Battles) else tiny_outcomes()
    secret = copy.copy(data).take(np.arange(len(data)))
    object.__setattr__(secret, "prompts", [f"{_PRIVATE} {i}" for i in range(len(data))])
    shown = repr(factory().fit(secret) if factory().learns_from else factory())
    _demand(type(factory()).__name__ in shown and "big" in shown, "`repr` must name the class and its arguments")
    _demand(_PRIVATE not in shown, "`repr` must not show a training prompt")
    _demand(len(shown) <= 1000, "`repr` must be readable: at most 1,000 characters")


def _prompts(n: int) -> list[str]:
    return [f"{_TOPICS[i % len(_TOPICS)]} {'again ' * (i % 5)}number {i}" for i in range(n)]


def _data(factory: Factory) -> Data:
    """Outcomes, or battles for a router that refuses outcomes."""
    try:
        factory().fit(tiny_outcomes())
    except DataError:
        return tiny_battles()
    return tiny_outcomes()


def _fitted(factory: Factory) -> Router:
    router = factory()
    return router.fit(_data(factory)) if router.learns_from else router


def _unfitted(factory: Factory) -> Router:
    """The router as its constructor leaves it."""
    router = factory()
    constructor: Callable[..., Router] = type(router)
    return constructor(**{name: getattr(router, name) for name in inspect.signature(constructor).parameters})


def _fit_or_refuse(router: Router, data: Data | Mixture) -> bool:
    try:
        router.fit(data)
    except DataError as refusal:
        _demand(type(data).__name__.lower() in str(refusal).lower(), "a refusal must name the type of data it refuses")
        return False
    _sound(router.win_rate(_prompts(12)), 12)
    return True


def _refused(call: Callable[[], object], what: str, word: str) -> None:
    try:
        call()
    except DataError as refusal:
        _demand(word in str(refusal), f"{what} must be refused with a message that names {word!r}")
        return
    raise AssertionError(f"{what} must raise DataError")


def _sound(scores: FloatArray, n: int) -> None:
    _demand(isinstance(scores, np.ndarray) and scores.shape == (n,), f"`win_rate` must give an array of shape ({n},)")
    _demand(scores.dtype == np.float64, f"`win_rate` must give float64, got {scores.dtype}")
    _demand(bool(((scores >= 0) & (scores <= 1)).all()), "`win_rate` must be finite and within [0, 1]")


def _close(first: FloatArray, second: FloatArray, sentence: str) -> None:
    gap = float(np.abs(first - second).max(initial=0.0))
    _demand(gap <= TOLERANCE, f"{sentence}: it moved by {gap:.2g}, more than {TOLERANCE:g}")


def _name(router: Router) -> str:
    return type(router).__name__


def _demand(kept: bool, sentence: str) -> None:
    if not kept:
        raise AssertionError(sentence)
