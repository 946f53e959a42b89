"""A judge run from start to end: workers take prompts, have them answered and judged, and stop without loss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from prefroute.augment.calls import BudgetReached, Calls, Pace, Stopped
from prefroute.augment.ledger import Ledger
from prefroute.augment.plan import ChatModel, Estimate, JudgePlan, estimate_plan
from prefroute.augment.report import Judged, Verdict, make_judged
from prefroute.augment.verdict import read_preference, read_score
from prefroute.augment.wording import answer_messages
from prefroute.errors import ConfigError, UpstreamError
from prefroute.http import OpenAIClient, run_blocking

__all__ = ["Progress", "estimate", "judge"]

_logger = logging.getLogger(__name__)

Progress = Callable[[int, int, float], None]
"""Called with prompts done, prompts in all, and US dollars spent."""

# a wrong key, no money, no such model: every further call would fare the same
_HOPELESS = frozenset({401, 402, 403, 404})
_MAX_FAILURES_IN_A_ROW = 10
_MAX_RETRY_AFTER_S = 600.0  # nobody waits for a single answer; to ask again earlier than told is to be told again


def estimate(plan: JudgePlan, state: Path) -> Estimate:
    """What a run of the plan will ask and cost, less what the state folder holds; sends nothing.

    Args:
        plan: What to ask.
        state: The folder of `judge`; made where it does not exist.

    Raises:
        ConfigError: If another process uses the folder.
    """
    with Ledger(state) as ledger:
        return estimate_plan(plan, ledger)


def judge(
    plan: JudgePlan,
    state: Path,
    *,
    max_usd: float | None = None,
    n_parallel: int = 8,
    rpm: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judged:
    """Battles of strong against weak, decided by a judge model.

    A call whose answer has reached the state folder is never sent again, in this run or a later one. Attempts that
    were in flight when a process was killed are sent again, and count at their most against `max_usd`.

    Args:
        plan: What to ask.
        state: Folder that keeps every finished call.
        max_usd: What the folder's calls may cost in all, > 0, runs before this one included; None for no bound.
        n_parallel: Calls in flight at once, >= 1.
        rpm: Attempts a minute to each endpoint, > 0; None for no limit of ours. A `Retry-After` of up to ten minutes
            is honoured in any case.
        seed: Draws the jitter of waits.
        progress: Told after each prompt.

    Returns:
        What was judged; incomplete where calls failed or the budget was reached.

    Raises:
        ConfigError: If an argument is out of range, another process uses the folder, or `max_usd` is given and a model
            to be called has no price.
        UpstreamError: If an endpoint refuses all (401-404), or ten calls in a row fail. What was in flight is kept.
    """
    if n_parallel < 1 or (rpm is not None and not rpm > 0) or (max_usd is not None and not max_usd > 0):
        raise ConfigError(
            f"A judge run needs n_parallel >= 1, rpm > 0 and max_usd > 0, got {n_parallel}, {rpm} and {max_usd}."
        )
    with Ledger(state) as ledger:
        if max_usd is not None and (unpriced := estimate_plan(plan, ledger).unpriced):
            raise ConfigError(
                f"A limit in dollars needs the price of every model that is called; not known: {', '.join(unpriced)}. "
                "Give it, 0 for a model that costs nothing."
            )
        rng = np.random.default_rng(seed)
        return run_blocking(_run(plan, ledger, max_usd, n_parallel, rpm, rng, progress))


async def _run(
    plan: JudgePlan,
    ledger: Ledger,
    max_usd: float | None,
    n_parallel: int,
    rpm: float | None,
    rng: np.random.Generator,
    progress: Progress | None,
) -> Judged:
    endpoints = {model.endpoint for model in (plan.strong, plan.weak, plan.judge)}
    paces = {endpoint: Pace(rpm, rng) for endpoint in endpoints}
    async with AsyncExitStack() as stack:
        clients = [OpenAIClient(endpoint, rng=rng, max_retry_after_s=_MAX_RETRY_AFTER_S) for endpoint in endpoints]
        posts = {client.endpoint: await stack.enter_async_context(client.connected()) for client in clients}
        run = _Run(plan, Calls(ledger, posts, paces, max_usd), progress)
        workers = [asyncio.create_task(run.work()) for _ in range(min(n_parallel, len(plan.questions)))]
        try:
            await asyncio.wait(workers)
        except asyncio.CancelledError:
            run.calls.stop()
            await asyncio.wait(workers)  # what is in flight is paid for: it is kept
            raise
    for worker in workers:
        worker.result()
    if run.error is not None:
        raise run.error
    return make_judged(plan, run.verdicts, run.calls, "max_usd" if run.is_budget_reached else None)


class _Run:
    """The state that the workers share."""

    def __init__(self, plan: JudgePlan, calls: Calls, progress: Progress | None) -> None:
        self.plan = plan
        self.calls = calls
        self.verdicts = [Verdict("left")] * len(plan.questions)
        self.error: UpstreamError | None = None
        self.is_budget_reached = False
        self._progress = progress
        self._todo: Iterator[int] = iter(range(len(plan.questions)))
        self._n_done = 0
        self._n_failures_in_a_row = 0

    async def work(self) -> None:
        """Judge prompts until none is left or the run stops."""
        try:
            for index in self._todo:
                if self.calls.is_stopping:
                    return
                self.verdicts[index] = await self._judged_or_failed(index)
                self._n_done += 1
                if self._progress is not None:
                    self._progress(self._n_done, len(self.verdicts), self.calls.ledger.usd)
        except BudgetReached:
            self.is_budget_reached = True
            self.calls.stop()
        except Stopped:
            pass
        except BaseException:
            self.calls.stop()
            raise

    async def _judged_or_failed(self, index: int) -> Verdict:
        try:
            verdict = await self._judged(index)
        except UpstreamError as exc:
            _logger.info("Prompt %d: %s", index + 1, exc)
            is_refused = exc.status is not None and 400 <= exc.status < 500 and not exc.may_pass
            self._n_failures_in_a_row += 1
            if exc.status in _HOPELESS or self._n_failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                self.error = self.error or exc
                self.calls.stop()
            return Verdict("refused" if is_refused else "failed")
        self._n_failures_in_a_row = 0
        return verdict

    async def _judged(self, index: int) -> Verdict:
        plan, question = self.plan, self.plan.questions[index]
        strong = question.strong_answer
        if strong is None:
            strong = await self._answer(plan.strong, question.prompt)
        weak = await self._answer(plan.weak, question.prompt)
        if not strong.strip() or not weak.strip():
            return Verdict("empty")
        said = [
            (await self.calls.ask("judge", plan.judge, messages)).text
            for messages in plan.judge_calls(question.prompt, strong, weak)
        ]
        readings: tuple[float | None, ...]
        if plan.mode == "reference":
            readings = (read_score(said[0]),)
        else:
            first, second = map(read_preference, said)
            readings = (first, None if second is None else 1 - second)
        return Verdict("unparsable" if None in readings else "judged", readings)

    async def _answer(self, model: ChatModel, prompt: str) -> str:
        return (await self.calls.ask("answer", model, answer_messages(prompt))).text
