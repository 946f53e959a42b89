"""When a model is asked again, and when it is left alone."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest
import uvloop
from tests.servers.asking import ask, asked, model_of
from tests.servers.faulty_upstream import RESET, whole

from prefroute.serve.upstream import Upstreams


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        ("retry-after: 7", 7, 7),
        ("retry-after-ms: 4500", 5, 5),
        (f"retry-after: {formatdate(time.time() + 3000, usegmt=True)}", 60, 60),
        ("retry-after: -5", 1, 1),
        ("retry-after: inf", 60, 60),
        ("retry-after: 1000000000", 60, 60),
        ("retry-after: nan", 1, 1),
        ("retry-after: soon", 1, 1),
        ("x: y", 1, 1),
    ],
)
def test_a_rate_limit_tells_the_client_when_to_come_back(bad, header, at_least, at_most):
    bad.always(whole(429, {"error": {"message": "slow down"}}, header))

    seen = asked(model_of("bad", bad.base_url))

    assert seen.fault is not None
    assert seen.fault.status == 429
    assert at_least <= int(seen.fault.headers["retry-after"]) <= at_most


def test_a_rate_limited_model_is_left_alone_for_as_long_as_it_asked(bad, good):
    bad.does(whole(429, b"", "retry-after: 30"))

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url), "good": model_of("good", good.base_url)})
        seen = [await ask(upstreams, "bad", "good") for _ in range(3)]
        is_open = upstreams.is_open("bad"), upstreams.is_open("good")
        await upstreams.close()
        return seen, is_open

    seen, is_open = uvloop.run(main())

    assert [s.outcomes for s in seen] == [["upstream_rate_limited", "ok"]] + 2 * [["cooling_down", "ok"]]
    assert is_open == (True, False)
    assert len(bad.requests) == 1


@pytest.mark.parametrize("status", [500, 429])
def test_the_only_model_is_asked_again_once_when_that_may_help(bad, status):
    bad.does(whole(status, b""))

    seen = asked(model_of("bad", bad.base_url))

    assert seen.outcomes == ["upstream_bad_status" if status == 500 else "upstream_rate_limited", "ok"]


def test_a_failing_upstream_gets_hardly_more_requests_than_there_are(bad):
    bad.always(whole(500, b""))

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url)})
        await asyncio.gather(*(ask(upstreams, "bad") for _ in range(40)))
        await upstreams.close()

    uvloop.run(main())

    assert len(bad.requests) <= 48  # and a fifth; the circuit opens in the meantime


def test_the_circuit_opens_after_five_failures_and_closes_after_one_good_probe(bad, good):
    bad.always(RESET)

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url), "good": model_of("good", good.base_url)})
        failing = [await ask(upstreams, "bad", "good") for _ in range(10)]
        n_before = len(bad.requests)
        bad.always()
        while upstreams.is_open("bad"):
            await asyncio.sleep(0.05)
        probes = await asyncio.gather(*(ask(upstreams, "bad", "good") for _ in range(10)))
        after = await ask(upstreams, "bad", "good")
        await upstreams.close()
        return failing, n_before, probes, after

    failing, n_before, probes, after = uvloop.run(main())

    assert [s.outcomes[0] for s in failing] == 5 * ["upstream_unreachable"] + 5 * ["circuit_open"]
    assert n_before == 5
    assert [s.outcomes for s in probes].count(["ok"]) == 1
    assert [s.outcomes for s in probes].count(["circuit_open", "ok"]) == 9
    assert after.outcomes == ["ok"]


def test_a_changed_configuration_keeps_connections_and_health_of_what_did_not_change(bad, good):
    bad.always(whole(500, b""))
    models = {"bad": model_of("bad", bad.base_url), "good": model_of("good", good.base_url)}

    async def main():
        upstreams = Upstreams(models)
        for _ in range(5):
            await ask(upstreams, "bad", "good")
        upstreams.replace({**models, "new": model_of("new", good.base_url)})
        kept = upstreams.is_open("bad"), (await ask(upstreams, "new")).text
        upstreams.replace({"good": models["good"], "bad": model_of("bad", good.base_url)})
        changed = upstreams.is_open("bad"), (await ask(upstreams, "bad")).text
        gone = (await ask(upstreams, "new")).text
        await upstreams.close()
        return kept, changed, gone

    assert uvloop.run(main()) == ((True, "Hello"), (False, "Hello"), "Hello")
    assert good.n_connections == 1
