"""What a judge run will ask, of whom, and what that may cost; nothing here is sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prefroute.augment.ledger import Answer, Ledger, call_key
from prefroute.augment.wording import WORDING, Messages, answer_messages, pairwise_messages, reference_messages
from prefroute.errors import ConfigError, DataError
from prefroute.http import Endpoint
from prefroute.prices import MEAN_TOKENS_OUT, Price

__all__ = ["ChatModel", "Estimate", "JudgePlan", "Mode", "Question", "estimate_plan"]

Mode = Literal["pairwise", "reference"]

_LIMITS = ("max_completion_tokens", "max_tokens")
_OURS = frozenset({"model", "messages", "n", "stream"})
_CHARS_A_TOKEN = 4
_MEAN_VERDICT_TOKENS = 100  # at most three sentences and the last line
# special tokens, and the system prompt that some servers add: what our bytes do not show
_HIDDEN_TOKENS = 256


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model behind an OpenAI-compatible endpoint.

    Attributes:
        name: As the endpoint knows it; also its name in the table that comes out.
        endpoint: Where it answers.
        parameters: Sent with every call; one of them must be `max_tokens` or `max_completion_tokens`, which bounds
            what a call can cost.
        price: None where it is not known; then a run cannot be bounded in dollars.

    Raises:
        ConfigError: If the name is empty, the limit of tokens is missing, or a parameter is not the user's to set.
    """

    name: str
    endpoint: Endpoint
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"max_tokens": 1024})
    price: Price | None = None

    def __post_init__(self) -> None:
        """Check once; see Raises."""
        if not self.name.strip():
            raise ConfigError("A model needs a name, got an empty one. Use the name that the endpoint knows.")
        if taken := _OURS & set(self.parameters):
            raise ConfigError(f"Parameter {min(taken)!r} of {self.name!r} is set by prefroute. Leave it out.")
        limits = [self.parameters[name] for name in _LIMITS if name in self.parameters]
        if not limits or not all(type(limit) is int and limit > 0 for limit in limits):
            raise ConfigError(
                f"{self.name!r} needs a whole number > 0 as `max_tokens` or `max_completion_tokens`, got "
                f"{limits[0] if limits else 'neither'!r}. It bounds what a call costs."
            )

    @property
    def max_tokens(self) -> int:
        """The most tokens that one answer may have."""
        return max(int(self.parameters[name]) for name in _LIMITS if name in self.parameters)

    def key(self, kind: str, messages: Messages) -> str:
        """The key of the call in the ledger."""
        asked = f"{kind}/{WORDING}" if kind == "judge" else kind
        return call_key(asked, self.endpoint.base_url, self.name, messages, self.parameters)

    def usd(self, tokens_in: float, tokens_out: float) -> float:
        """Price of so many tokens, US dollars; 0 where the price is not known."""
        return 0.0 if self.price is None else self.price.request_usd(tokens_in, tokens_out)

    def usd_at_most(self, messages: Messages) -> float:
        """The most that one attempt can cost, US dollars: no tokenizer makes more tokens than there are bytes."""
        n_bytes = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
        return self.usd(n_bytes + _HIDDEN_TOKENS, self.max_tokens)


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt to judge, with the strong model's answer where it is stored."""

    prompt: str
    strong_answer: str | None = None


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """Who answers, who judges, and what.

    Attributes:
        questions: Distinct, non-empty prompts.
        strong: Answers where no answer is stored.
        weak: Answers every prompt.
        judge: Compares the two answers.
        mode: "pairwise" asks which answer is better, in both orders; "reference" asks for a score 1-5 of the weak
            answer against the strong one.
        n_left_out: Prompts that were empty or there before.
    """

    questions: tuple[Question, ...]
    strong: ChatModel
    weak: ChatModel
    judge: ChatModel
    mode: Mode = "pairwise"
    n_left_out: int = 0

    @classmethod
    def of(
        cls,
        prompts: Sequence[str],
        *,
        strong: ChatModel,
        weak: ChatModel,
        judge: ChatModel,
        mode: Mode = "pairwise",
        strong_answers: Sequence[str | None] | None = None,
    ) -> JudgePlan:
        """The plan for these prompts; empty ones and repetitions are left out and counted.

        Args:
            prompts: n strings.
            strong: The strong model.
            weak: The weak model.
            judge: The judge; may be one of the two, which favours it.
            mode: As the attribute.
            strong_answers: Stored answers of the strong model, None or empty where there is none, length n.

        Raises:
            ConfigError: If strong and weak are one model, or `mode` is unknown.
            DataError: If no prompt is left, or the number of answers is another.
        """
        if strong.name == weak.name:
            raise ConfigError(f"Strong and weak must be two models, got {strong.name!r} twice.")
        if mode not in ("pairwise", "reference"):
            raise ConfigError(f"`mode` must be pairwise or reference, got {mode!r}.")
        answers = [None] * len(prompts) if strong_answers is None else strong_answers
        if len(answers) != len(prompts):
            raise DataError(f"`strong_answers` must be one for each of {len(prompts)} prompts, got {len(answers)}.")
        first: dict[str, Question] = {}
        for prompt, answer in zip(map(_encodable, prompts), answers, strict=True):
            if prompt.strip() and prompt not in first:
                first[prompt] = Question(prompt, _encodable(answer) if answer and answer.strip() else None)
        if not first:
            raise DataError(f"No prompt to judge: {len(prompts)} read, all empty. Bring at least one with text.")
        return cls(tuple(first.values()), strong, weak, judge, mode, len(prompts) - len(first))

    def judge_calls(self, prompt: str, strong: str, weak: str) -> list[Messages]:
        """What the judge is asked about two answers: in both orders, or once against the reference."""
        if self.mode == "reference":
            return [reference_messages(prompt, strong, weak)]
        return [pairwise_messages(prompt, strong, weak), pairwise_messages(prompt, weak, strong)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will ask and about what that costs: tokens are characters / 4, answers of a stated mean length.

    Attributes:
        n_calls: Calls to make, by model, those on disk not counted; where two endpoints know a model by one name, the
            base URL is added to it.
        n_on_disk: Calls that are on disk already.
        tokens_in: Tokens to read.
        tokens_out: Tokens to write.
        usd: Expected cost, US dollars, of the models with a price.
        usd_if_full: The same with every answer as long as its limit; attempts that fail and are billed come on top.
        usd_spent: What the state folder has cost so far.
        unpriced: Those of `n_calls` whose price is not known.
    """

    n_calls: Mapping[str, int]
    n_on_disk: int
    tokens_in: int
    tokens_out: int
    usd: float
    usd_if_full: float
    usd_spent: float
    unpriced: tuple[str, ...]


def estimate_plan(plan: JudgePlan, ledger: Ledger | None = None) -> Estimate:
    """The estimate of a plan, less what the ledger holds."""
    tally = _Tally(plan, ledger)
    for question in plan.questions:
        asked = answer_messages(question.prompt)
        strong = question.strong_answer
        if strong is None:
            strong = tally.answer(plan.strong, asked)
        weak = tally.answer(plan.weak, asked)
        for messages in plan.judge_calls(question.prompt, strong or "", weak or ""):
            tally.verdict(plan, messages, n_unknown=(strong is None) + (weak is None))
    return Estimate(
        n_calls=tally.n_calls,
        n_on_disk=tally.n_on_disk,
        tokens_in=math.ceil(tally.tokens_in),
        tokens_out=math.ceil(tally.tokens_out),
        usd=tally.usd,
        usd_if_full=tally.usd_if_full,
        usd_spent=0.0 if ledger is None else ledger.usd,
        unpriced=tuple(tally.unpriced),
    )


class _Tally:
    """Adds calls up."""

    def __init__(self, plan: JudgePlan, ledger: Ledger | None) -> None:
        self._ledger = ledger
        callees = {(model.name, model.endpoint.base_url) for model in (plan.strong, plan.weak, plan.judge)}
        self._n_endpoints = Counter(name for name, _ in callees)
        self.n_calls: Counter[str] = Counter()
        self.unpriced: dict[str, None] = {}  # in the order in which they are called
        self.n_on_disk = 0
        self.tokens_in = self.tokens_out = self.usd = self.usd_if_full = 0.0

    def answer(self, model: ChatModel, messages: Messages) -> str | None:
        """Count the call; its answer where it is on disk."""
        if (stored := self._stored(model, "answer", messages)) is not None:
            return stored.text
        tokens_in = _tokens(messages)
        self._add(model, tokens_in, tokens_in, MEAN_TOKENS_OUT)
        return None

    def verdict(self, plan: JudgePlan, messages: Messages, n_unknown: int) -> None:
        """Count the call, which will also read `n_unknown` answers that do not exist yet."""
        if not n_unknown and self._stored(plan.judge, "judge", messages) is not None:
            return
        limit = max(plan.strong.max_tokens, plan.weak.max_tokens)
        known = _tokens(messages)
        expected = known + n_unknown * min(MEAN_TOKENS_OUT, limit)
        self._add(plan.judge, expected, known + n_unknown * limit, _MEAN_VERDICT_TOKENS)

    def _stored(self, model: ChatModel, kind: str, messages: Messages) -> Answer | None:
        found = self._ledger.get(model.key(kind, messages)) if self._ledger else None
        self.n_on_disk += found is not None
        return found

    def _add(self, model: ChatModel, tokens_in: float, tokens_in_if_full: float, mean_out: int) -> None:
        tokens_out = min(mean_out, model.max_tokens)
        shared = self._n_endpoints[model.name] > 1
        callee = f"{model.name} at {model.endpoint.base_url}" if shared else model.name
        self.n_calls[callee] += 1
        if model.price is None:
            self.unpriced[callee] = None
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.usd += model.usd(tokens_in, tokens_out)
        self.usd_if_full += model.usd(tokens_in_if_full, model.max_tokens)


def _tokens(messages: Messages) -> float:
    return sum(len(message["content"]) for message in messages) / _CHARS_A_TOKEN


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
