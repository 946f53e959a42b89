"""Who waits for a row, and for how long."""

import asyncio
import concurrent.futures

import pytest

from prefroute.errors import JournalError
from prefroute.journal.waiting import Patience, settle


def test_each_waiter_has_its_own_time_though_one_timer_serves_all():
    async def main():
        loop = asyncio.get_running_loop()
        patience = Patience(loop, 0.1, "too late")
        first, settled = patience.waiter(), patience.waiter()
        settled.set_result("in time")
        await asyncio.sleep(0.06)
        second = patience.waiter()
        begin = loop.time()

        with pytest.raises(JournalError, match="too late"):
            await first
        was_pending = not second.done()
        with pytest.raises(JournalError, match="too late"):
            await second

        assert was_pending
        assert loop.time() - begin >= 0.09
        assert settled.result() == "in time"
        assert patience._timer is None  # nobody is waited for

    asyncio.run(main())


def test_waiters_that_are_done_are_let_go_long_before_their_time():
    async def main():
        patience = Patience(asyncio.get_running_loop(), 60, "too late")
        for _ in range(1000):
            patience.waiter().set_result(None)

        assert len(patience._waiting) == 1

    asyncio.run(main())


def test_a_thread_that_has_given_up_is_passed_over():
    given_up, waiting = concurrent.futures.Future[int](), concurrent.futures.Future[int]()
    given_up.cancel()

    settle([given_up, None, waiting], value=3)

    assert given_up.cancelled()
    assert waiting.result(0) == 3
