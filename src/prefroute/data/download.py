"""One file over HTTP: resumed where it broke off, tried again where that may help, checked before it gets its name.

The doors: `download`, and `get` for a small answer that is read whole. They must not know which sets there are. Plain
`urllib`: one stream, one file, written straight to disk, where an event loop would only wait; its time-out is per read,
so that a slow line is no error and a dead one is; and it honours the proxies that people behind one have set.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from prefroute.errors import (
    ConfigError,
    DataError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from prefroute.http import retry_after_s

__all__ = ["Line", "Promise", "download", "file_sha256", "get"]

_T = TypeVar("_T")
logger = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.5
_MAX_RETRY_AFTER_S = 600.0  # nobody waits for the file; to ask again earlier than told is to be told again
_MAX_REDIRECTS = 5
_PIECE_BYTES = 1 << 18
_MAX_SMALL_BYTES = 1 << 24
_RETRIED_4XX = frozenset({408, 429})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Line:
    """How to ask: the token for the host that is asked first, and how to wait between attempts.

    Attributes:
        token: Sent as a bearer token, never to a host that a redirect names. Never shown.
        sleep: Waits a number of seconds; tests hand in one that only notes it.
    """

    token: str | None = field(default=None, repr=False)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Promise:
    """What is known of a file before its last byte is here.

    Attributes:
        size: Bytes; None where nobody said.
        sha256: Hex digest; None where nobody said.
        revision: Commit that the host says it serves from; None where it does not say.
    """

    size: int | None = None
    sha256: str | None = None
    revision: str | None = None


class _KeepRedirects(urllib.request.HTTPRedirectHandler):
    """Hands redirects back: we say where a request may go, and what travels with it."""

    def redirect_request(self, *_: Any) -> None:
        return None


def get(url: str, line: Line) -> bytes:
    """A small answer, whole: at most 16 MiB.

    Args:
        url: Where to ask.
        line: How to ask.

    Returns:
        Its bytes.

    Raises:
        ConfigError: If the address is neither https nor on loopback.
        UpstreamError: If it cannot be had; the message says why.
    """

    def read() -> bytes:
        content = b""
        with _open(url, {}, line)[0] as answer:
            while len(content) <= _MAX_SMALL_BYTES and (piece := _read(answer, url)):
                content += piece
        if len(content) > _MAX_SMALL_BYTES:
            raise UpstreamProtocolError(f"{_host(url)} answered {urlsplit(url).path} with more than 16 MiB.")
        if len(content) < (size := _length(answer) or 0):
            raise _broken_off(url, f"after {len(content):,} of {size:,} bytes")
        return content

    return _trying(line, read)


def download(
    url: str,
    part: Path,
    known: Promise,
    line: Line,
    promised: Callable[[Promise], Promise] = lambda promise: promise,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Promise:
    """Fill `part` with the whole file and check it; a part that is there already is added to.

    Args:
        url: Where the file is.
        part: Where it goes until it is whole. Its folder exists.
        known: What the file must be, as far as that is known.
        line: How to ask.
        promised: Told what the host says, before the first byte is written; gives back what must hold.
        progress: Called with bytes done and bytes in all.

    Returns:
        Size, SHA-256 and revision of the file that is now in `part`.

    Raises:
        DataError: If the disk is full; nothing is left behind.
        UpstreamError: If the file cannot be had (what is there stays, for the next run to add to), or is not what was
            promised (nothing is left behind).
    """

    def attempt() -> Promise:
        return _attempt(url, part, known, line, promised, progress)

    promise = _trying(line, attempt)
    size, digest = part.stat().st_size, file_sha256(part)
    if promise.sha256 not in (None, digest):
        part.unlink()
        raise UpstreamError(
            f"{_host(url)} sent {urlsplit(url).path} with the checksum (SHA-256) {digest[:12]}..., where "
            f"{str(promise.sha256)[:12]}... was wanted; it was dropped. Fetch again; if it stays so, the file was "
            "changed or damaged at its source."
        )
    return Promise(size, digest, promise.revision)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attempt(
    url: str,
    part: Path,
    known: Promise,
    line: Line,
    promised: Callable[[Promise], Promise],
    progress: Callable[[int, int | None], None],
) -> Promise:
    done = part.stat().st_size if part.exists() else 0
    if known.size is not None and done >= known.size:
        if done == known.size:
            return known
        part.unlink()  # longer than the file: never a beginning of it
        done = 0
    answer, headers = _open(url, {"Range": f"bytes={done}-"} if done else {}, line)
    with answer:
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise UpstreamProtocolError(f"{_host(url)} answered another range than was asked for. Delete {part.name}.")
        if answer.status == 416:  # nothing after what we have: whole, or not a beginning of this file
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if total != str(done):
                part.unlink()
                raise UpstreamUnavailable(f"{_host(url)} holds less than was fetched before.", may_pass=True)
        done = done if answer.status in (206, 416) else 0
        promise = promised(_merged(known, headers, answer, done))
        if answer.status != 416:
            _write(answer, part, done, promise.size, url, progress)
    return promise


def _merged(known: Promise, headers: list[Message], answer: Any, done: int) -> Promise:
    """What we know and what the answer, and the redirects before it, say (the hub says it in its redirect)."""

    def said(name: str) -> str:
        return next((value for each in headers if (value := each.get(name))), "")

    length = _length(answer)
    size = length + done if length is not None and answer.status in (200, 206) else None
    digest = (said("X-Linked-Etag") or said("ETag")).removeprefix("W/").strip('"').lower()
    is_sha256 = len(digest) == 64 and not set(digest) - set("0123456789abcdef") and bool(said("X-Repo-Commit"))
    return Promise(
        known.size if known.size is not None else size,
        known.sha256 or (digest if is_sha256 else None),
        said("X-Repo-Commit") or known.revision,
    )


def _write(
    answer: Any, part: Path, done: int, size: int | None, url: str, progress: Callable[[int, int | None], None]
) -> None:
    """Append the answer's bytes after the first `done` of the part; a full disk drops it, a broken line does not."""
    left = 0 if size is None else size - done
    free = shutil.disk_usage(part.parent).free
    if left > free:
        part.unlink(missing_ok=True)
        raise DataError(
            f"The disk of {str(part.parent)!r} has {free:,} bytes free, and {part.stem} needs {left:,} more. Nothing "
            "was left behind. Free some space, or name another folder with --to."
        )
    try:
        with part.open("ab") as file:
            file.truncate(done)
            while piece := _read(answer, url):
                file.write(piece)
                done += len(piece)
                progress(done, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        part.unlink(missing_ok=True)
        raise DataError(
            f"The disk of {str(part.parent)!r} is full after {done:,} bytes of {part.stem}. Nothing of it was left "
            "behind. Free some space, or name another folder with --to."
        ) from error
    if size is not None and done < size:
        raise _broken_off(url, f"after {done:,} of {size:,} bytes")
    if size is not None and done > size:
        part.unlink()
        raise UpstreamError(f"{_host(url)} sent {done:,} bytes of {part.stem}, where {size:,} were wanted; dropped.")


def _length(answer: Any) -> int | None:
    """How many bytes the answer promises; None where it does not say."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _read(answer: Any, url: str) -> bytes:
    try:
        return bytes(answer.read(_PIECE_BYTES))
    except TimeoutError as error:
        raise _late(url) from error
    except (http.client.HTTPException, OSError) as error:
        raise _broken_off(url, f"({type(error).__name__})") from error


def _open(url: str, headers: dict[str, str], line: Line) -> tuple[Any, list[Message]]:
    """The answer to a GET after all redirects, and the headers of every step, the first one first."""
    token = line.token
    steps: list[Message] = []
    for _ in range(_MAX_REDIRECTS + 1):
        _require_safe(url, is_redirect=bool(steps))
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        answer = _ask(url, {"User-Agent": "prefroute", **headers, **bearer})
        steps.append(answer.headers)
        if answer.status not in (301, 302, 303, 307, 308):
            _require_good(answer, url, line)
            return answer, steps
        answer.close()
        target = urljoin(url, answer.headers.get("Location", ""))
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            token = None  # another host: our token is none of its business
        url = target
    raise UpstreamProtocolError(f"{_host(url)} redirects more than {_MAX_REDIRECTS} times. Check the address.")


def _ask(url: str, headers: dict[str, str]) -> Any:
    handlers: list[urllib.request.BaseHandler] = [_KeepRedirects()]
    if urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `_require_safe` saw the scheme
    try:
        return urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as answer:
        return answer
    except TimeoutError as error:
        raise _late(url) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _late(url) from error
        reason = getattr(error.reason, "strerror", None) or str(error.reason)
        gone = f"{_host(url)} cannot be reached: {reason}. Check the connection and the address."
        may_pass = not isinstance(error.reason, ssl.SSLCertVerificationError)
        raise UpstreamUnavailable(gone, may_pass=may_pass) from error
    except (http.client.HTTPException, OSError) as error:
        raise _broken_off(url, f"({type(error).__name__})") from error


def _require_safe(url: str, *, is_redirect: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    if is_redirect:
        raise UpstreamProtocolError(f"A redirect leads to {parts.scheme}://{parts.netloc}; only https is followed.")
    raise ConfigError(f"Data is fetched over https only, got {parts.scheme}://{parts.netloc}. Check the endpoint.")


def _require_good(answer: Any, url: str, line: Line) -> None:
    status, path = answer.status, urlsplit(url).path
    is_page = answer.headers.get_content_type() == "text/html"
    if status in (200, 206, 416) and not is_page:
        return
    answer.close()
    if status == 200:
        raise UpstreamProtocolError(f"{_host(url)} answered {path} with a web page: a login, or a proxy? Check it.")
    if status in _RETRIED_4XX or status >= 500:
        raise UpstreamUnavailable(
            f"{_host(url)} answered {status} for {path}. Try again later.",
            status=status,
            may_pass=True,
            retry_after_s=retry_after_s(answer.headers.get("Retry-After", ""), _MAX_RETRY_AFTER_S),
        )
    if status in (401, 403):
        token = "the token was not accepted" if line.token else "no token was sent"
        raise UpstreamRefused(
            f"{_host(url)} answered {status} for {path}: the set is gated, private or gone, and {token}. Accept its "
            "terms on its page, make a read token in your account's settings, and set HF_TOKEN to it.",
            status=status,
        )
    hint = "It is not there, or not any more. Check HF_ENDPOINT and PREFROUTE_GITHUB_RAW if you set one."
    raise UpstreamRefused(f"{_host(url)} answered {status} for {path}. {hint}", status=status)


def _trying(line: Line, work: Callable[[], _T]) -> _T:
    """What `work` gives; it is done again, after a wait, when it fails in a way that may pass."""
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except UpstreamError as error:
            if not error.may_pass or attempt == _ATTEMPTS - 1:
                raise
            asked, own = error.retry_after_s, _FIRST_WAIT_S * 2**attempt
            wait_s = own if asked is None else asked
            logger.info("%s Trying again in %.1f s.", error, wait_s)
            line.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _late(url: str) -> UpstreamTimeout:
    return UpstreamTimeout(f"{_host(url)} sent nothing for {_TIMEOUT_S:g} s. Run again to go on.", may_pass=True)


def _broken_off(url: str, where: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(f"{_host(url)} broke off {where}. Run again to go on from there.", may_pass=True)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
