"""What a newcomer sees first."""

import json

import pytest


def test_demo_routes_about_twenty_prompts_of_every_promised_kind(run):
    result = json.loads(run("demo", "--json", "-").stdout)

    rows = result["results"]
    assert 18 <= len(rows) <= 24
    assert {"chat", "code", "maths", "extraction", "non-English", "very long", "empty"} <= {row["kind"] for row in rows}
    assert {row["model"] for row in rows} == {result["strong"], result["weak"]}
    assert all((row["model"] == result["strong"]) == (row["win_rate"] >= result["threshold"]) for row in rows)


def test_demo_costs_lie_between_always_weak_and_always_strong(run):
    cost_usd = json.loads(run("demo", "--json", "-").stdout)["cost_usd"]

    assert 0 < cost_usd["always_weak"] < cost_usd["routed"] < cost_usd["always_strong"]


def test_demo_says_what_it_is_not_and_what_to_type_next(run):
    said = run("demo").stdout

    assert "not how good it is" in said
    assert 'prefroute route "Your own prompt"' in said


def test_demo_prices_an_unknown_model_not_at_all(checkpoint):
    from prefroute.cli.demo import _costs, _Routed
    from prefroute.cli.opening import open_router

    routed = [_Routed(kind="chat", prompt="hi", win_rate=0.5, is_strong=True)]

    assert _costs(open_router(str(checkpoint)), routed) is None


def test_demo_costs_are_token_counts_times_prices():
    from prefroute.cli.demo import _costs, _Routed
    from prefroute.cli.opening import open_router

    routed = [_Routed("chat", "a" * 400, 0.9, True), _Routed("chat", "a" * 4000, 0.1, False)]

    found = _costs(open_router("default"), routed)

    # strong: 100 tokens in at 10 and 264 out at 30 USD a million; weak: 1,000 in and 264 out at 0.24
    assert found is not None
    assert found["routed"] == pytest.approx((100 * 10 + 264 * 30 + (1000 + 264) * 0.24) / 1e6)
