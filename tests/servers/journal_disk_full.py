"""A process whose files may not grow: run with the URL of a journal; says as JSON what the journal did about it.

A limit on the size of files stands in for a full disk, since it needs no file system of its own: writing beyond it
fails in the same place.
"""

import json
import resource
import signal
import sys
import time

from prefroute.errors import JournalError
from prefroute.journal import RequestRow, Storing, open_journal, writer


def save(journal, n: int) -> bool:
    try:
        journal.save(RequestRow(f"r{n}", time.time(), "chat", status=200, prompt="x" * 10_000))
    except JournalError:
        return False
    return True


def main() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with EFBIG
    writer.PATIENCE_S = 0.2
    journal = open_journal(sys.argv[1], storing=Storing(prompts=True))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    told = [save(journal, n) for n in range(60)]
    found = {"safe": [n for n, is_safe in enumerate(told) if is_safe], "healthy_when_full": journal.is_healthy}
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    deadline = time.monotonic() + 30
    while not journal.is_healthy and time.monotonic() < deadline:
        time.sleep(0.01)
    found["safe_after"] = save(journal, 60)
    found["healthy_after"] = journal.is_healthy
    found["counts"] = journal.counts()
    journal.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
