"""What can go wrong with one attempt, and what the client hears when every attempt went wrong.

The door is `Failure`, and `fault_of` over the failures of one request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from prefroute.serve.faults import Fault, upstream_fault

__all__ = ["Failure", "FailureCode", "fault_of"]

FailureCode = Literal[
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_invalid_response",
    "upstream_bad_status",
    "upstream_auth_failed",
    "upstream_rate_limited",
    "upstream_stream_error",
]


class Failure(Exception):
    """One attempt that gave no answer.

    Args:
        model: Name in the configuration.
        code: What went wrong.
        what: The same in words that go on "Model 'x' ...".
        status: The upstream's HTTP status; None where there was no answer.
        may_pass: Whether the same model could answer when it is asked again at once.
        retry_after_s: How long it wants to be left alone, in [0, 60]; None where it did not say.
    """

    def __init__(
        self,
        model: str,
        code: FailureCode,
        what: str,
        *,
        status: int | None = None,
        may_pass: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"Model {model!r} {what}")
        self.model = model
        self.code = code
        self.status = status
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


def fault_of(failures: Sequence[Failure]) -> Fault:
    """What the client is told when no model answered.

    Args:
        failures: The last one of each model, >= 1, in the order in which the models were asked.

    Example:
        >>> late = Failure("big", "upstream_timeout", "sent nothing within 60 s.")
        >>> full = Failure("small", "upstream_rate_limited", "takes no more requests now.", retry_after_s=7.0)
        >>> fault = fault_of([late, full])
        >>> fault.status, fault.code, fault.message
        (504, 'upstream_timeout', "Model 'big' sent nothing within 60 s. Model 'small' takes no more requests now.")
    """
    message = " ".join(map(str, failures))
    others = [failure for failure in failures if failure.code != "upstream_rate_limited"]
    if not others:
        waits = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
        # at least 1: a client told to wait 0 s comes back before anything has changed
        return upstream_fault(
            429, "upstream_rate_limited", message, retry_after_s=max(1, math.ceil(min(waits, default=1)))
        )
    worst = others[0]
    return upstream_fault(504 if worst.code == "upstream_timeout" else 502, worst.code, message)
