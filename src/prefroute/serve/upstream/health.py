"""When a model is left alone: a circuit breaker and a cool-down for each, and a budget for asking the same one again.

The doors are `Health` and `RetryBudget`. Time is handed in, in seconds of a monotonic clock. It must not know what an
attempt is made of.
"""

from __future__ import annotations

from collections import deque

from prefroute.serve.upstream.failures import Failure, FailureCode

__all__ = ["Health", "RetryBudget"]

_WINDOW_S = 10
_FAILURES_TO_OPEN = 5
_FAILING_SHARE = 0.25  # a busy upstream that fails now and then is not down
_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 30.0
_RETRY_SHARE = 0.2
_FREE_RETRIES = 3


class _Window:
    """Two counts over the last 10 s, kept by the second."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second, first count, second count]

    def add(self, now: float, first: int, second: int) -> None:
        at = int(now)
        if not self._seconds or self._seconds[-1][0] != at:
            self._seconds.append([at, 0, 0])
            while self._seconds[0][0] <= at - _WINDOW_S:
                self._seconds.popleft()
        self._seconds[-1][1] += first
        self._seconds[-1][2] += second

    def sums(self, now: float) -> tuple[int, int]:
        recent = [counts for counts in self._seconds if counts[0] > now - _WINDOW_S]
        return sum(counts[1] for counts in recent), sum(counts[2] for counts in recent)

    def clear(self) -> None:
        self._seconds.clear()


class Health:
    """Whether one model may be tried.

    Five failures within 10 s, if they are a quarter of the attempts or more, open the circuit: nothing is sent for 1 s,
    then one attempt is let through as a probe. If it fails, the pause doubles, up to 30 s; if it succeeds, everything
    is as before. What becomes of attempts that began before the circuit opened changes nothing in either. Being rate
    limited is no failure: the model is left alone for as long as it asks.

    Example:
        >>> health, failure = Health(), Failure("big", "upstream_unreachable", "cannot be reached.")
        >>> for _ in range(5):
        ...     health.failed(health.began(), failure, now=100.0)
        >>> health.reason_to_wait(100.5), health.reason_to_wait(101.1)
        ('upstream_unreachable', None)
    """

    def __init__(self) -> None:
        self._attempts = _Window()
        self._open_until: float | None = None  # None: closed
        self._pause_s = _FIRST_PAUSE_S
        self._n_attempts = 0
        self._probe: int | None = None  # the attempt that decides; None where none does
        self._cool_until = 0.0
        self._last: FailureCode | None = None  # not the failure: its causes hold all of the request

    def reason_to_wait(self, now: float) -> FailureCode | None:
        """The code of what last went wrong, if the model must not be tried now because of it."""
        is_open = self._open_until is not None and (now < self._open_until or self._probe is not None)
        return self._last if is_open or now < self._cool_until else None

    def wait_s(self, now: float) -> float:
        """Seconds until it is worth while to look again, >= 0."""
        return max(0.0, self._cool_until - now, (self._open_until or 0.0) - now)

    def began(self) -> int:
        """An attempt starts; `reason_to_wait` was None.

        Returns:
            Its number, by which the methods below know whether it is the probe.
        """
        self._n_attempts += 1
        if self._open_until is not None:
            self._probe = self._n_attempts
        return self._n_attempts

    def succeeded(self, attempt: int, now: float) -> None:
        """It gave an answer, or the beginning of one."""
        if self._was_probe(attempt):
            self._open_until, self._pause_s = None, _FIRST_PAUSE_S
            self._attempts.clear()
        self._attempts.add(now, 1, 0)

    def failed(self, attempt: int, failure: Failure, now: float) -> None:
        """It did not; a stream may have begun well before."""
        was_probe = self._was_probe(attempt)
        if failure.retry_after_s is not None:
            self._cool_until, self._last = now + failure.retry_after_s, failure.code
        if failure.code == "upstream_rate_limited":
            return
        self._last = failure.code
        self._attempts.add(now, 1, 1)
        n_attempts, n_failures = self._attempts.sums(now)
        is_failing = n_failures >= _FAILURES_TO_OPEN and n_failures >= _FAILING_SHARE * n_attempts
        if was_probe:
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        if was_probe or (is_failing and self._open_until is None):
            self._open_until = now + self._pause_s

    def abandoned(self, attempt: int) -> None:
        """It was given up before anybody knew, since the client left."""
        self._was_probe(attempt)

    def _was_probe(self, attempt: int) -> bool:
        """Whether the attempt was the probe; if so it is over, and makes room for another."""
        if attempt != self._probe:
            return False
        self._probe = None
        return True


class RetryBudget:
    """Bounds how many requests are sent to a model a second time: a fifth of all within 10 s, or three.

    Without it an upstream that fails under load would get twice the load.
    """

    def __init__(self) -> None:
        self._requests = _Window()

    def count(self, now: float) -> None:
        """A request came."""
        self._requests.add(now, 1, 0)

    def spend(self, now: float) -> bool:
        """Whether one more may be repeated; if so it is counted."""
        n_requests, n_retries = self._requests.sums(now)
        if n_retries >= max(_FREE_RETRIES, _RETRY_SHARE * n_requests):
            return False
        self._requests.add(now, 0, 1)
        return True
