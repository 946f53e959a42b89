"""The one family of errors that prefroute raises on purpose.

A message has four parts, in this order: what is wrong, what was got, what was wanted, what to do. It names files,
rows and columns where it can, and never holds a key or the text of a prompt. The command line prints the message on
one line (several problems of a file on a line each) and exits with `exit_code`; everything else that escapes is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "JournalError",
    "MissingExtraError",
    "NotFittedError",
    "PrefrouteError",
    "UpstreamError",
    "UpstreamProtocolError",
    "UpstreamRefused",
    "UpstreamTimeout",
    "UpstreamUnavailable",
    "is_out_of_memory",
    "nearest",
]


class PrefrouteError(Exception):
    """Base of every error that prefroute raises on purpose.

    Attributes:
        exit_code: What the command line exits with: 2 for a mistake that the user can mend, 1 for a failure.
    """

    exit_code: int = 2


class DataError(PrefrouteError, ValueError):
    """Data has the wrong shape, range, column or content."""


class NotFittedError(PrefrouteError):
    """A router was asked for scores before it was fitted or loaded."""


class CheckpointError(PrefrouteError):
    """A checkpoint is missing, corrupt, too new, or does not fit what it is loaded with."""


class ConfigError(PrefrouteError):
    """A setting, flag or name is not valid.

    Args:
        message: What is wrong; the headline, where there are several problems.
        problems: Each of them.

    Attributes:
        lines: The same, as the command line prints it.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(f"{message} {'; '.join(problems)}." if problems else message)
        self.lines = (message, *problems)


class JournalError(PrefrouteError):
    """The journal cannot be written or read now; what was asked may work later."""

    exit_code = 1


class MissingExtraError(PrefrouteError, ImportError):
    """An optional dependency is not installed.

    Args:
        what: The thing that needs it, as the user knows it: "The `transformer` embedder".
        extra: The extra of prefroute that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.what = what
        self.extra = extra
        super().__init__(f"{what} needs the extra {extra!r}. Install it with: pip install 'prefroute[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle by the two arguments, since the message is made from them."""
        return type(self), (self.what, self.extra)


class UpstreamError(PrefrouteError):
    """A remote endpoint failed. Never holds the endpoint's key.

    Attributes:
        status: HTTP status of the answer; None where there was none.
        may_pass: Whether asking again may help.
        may_have_run: Whether the endpoint may have done the work, and billed it, all the same.
        retry_after_s: Seconds that the endpoint asks to wait; None where it does not say.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        may_pass: bool = False,
        may_have_run: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.may_pass = may_pass
        self.may_have_run = may_have_run
        self.retry_after_s = retry_after_s


class UpstreamTimeout(UpstreamError):
    """A remote endpoint did not answer in time."""


class UpstreamRefused(UpstreamError):
    """A remote endpoint answered 4xx: asking again will not help."""


class UpstreamUnavailable(UpstreamError):
    """A remote endpoint could not be reached, or answered 5xx or 429 until the retries ran out."""


class UpstreamProtocolError(UpstreamError):
    """A remote endpoint answered something that is not the OpenAI protocol."""


def nearest(name: str, known: Iterable[str], what: str) -> str:
    """The text for an unknown name: the name, the nearest known one, and the whole list.

    Args:
        name: What was asked for.
        known: What there is.
        what: The kind of thing, in the singular: "router".

    Returns:
        One sentence or two, for the message of an error.

    Example:
        >>> nearest("knm", ["knn", "linear"], "router")
        "Unknown router 'knm'. Did you mean 'knn'? Available: knn, linear."
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown {what} {name!r}.{hint} Available: {', '.join(names) or 'none'}."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of its GPU.

    Libraries that allocate by themselves have no common class for it, only a text: torch on a CPU, ONNX Runtime.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_out_of_memory(ValueError())
        (True, False)
    """
    words = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error).lower() for part in words)
    )
