"""A process that writes to a journal until it is killed. Run with the URL; it prints the id of each row that is safe.

With `--begin-only` the rows never end.
"""

import asyncio
import os
import sys
import time

from prefroute.journal import AttemptRow, RequestRow, open_journal


async def write(journal, name: str, *, begin_only: bool) -> None:
    n = 0
    while True:
        row = RequestRow(f"{name}-{n}", time.time(), "chat", route="auto", n_chars=n)
        journal.begin(row)
        await asyncio.sleep(0 if n % 3 else 0.06)  # some intents are written before the end, some are not
        if begin_only:
            await asyncio.sleep(0.02)
        else:
            row.attempts.append(AttemptRow("m", "ok", 200, 0.1))
            row.status = 200
            await journal.finish(row)
            os.write(1, f"{row.request_id}\n".encode())
        n += 1


async def main() -> None:
    journal = open_journal(sys.argv[1])
    os.write(1, b"ready\n")
    names = [f"{os.getpid()}-{i}" for i in range(8)]
    await asyncio.gather(*(write(journal, name, begin_only="--begin-only" in sys.argv) for name in names))


if __name__ == "__main__":
    asyncio.run(main())
