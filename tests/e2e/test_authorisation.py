"""Who may ask for what: every path of the table with no key, bad ones, one without rights, and one with all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.servers.faulty_upstream import FaultyUpstream
from tests.servers.gateway import CHAT, InProcess, Reply, in_process, make_key

from prefroute.journal import RIGHTS, open_database, revoke_key
from prefroute.serve.app import PATHS, Access

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**CHAT, "model": "big"},
    "/v1/completions": {"model": "big", "prompt": "2 + 2 ="},
    "/v1/embeddings": {"model": "big", "input": "hi"},
    "/v1/route": dict(CHAT),
    "/v1/feedback": {"request_id": "req_1", "score": 0.5},
}
NEEDS_RIGHT = {"/v1/route": "explain", "/v1/feedback": "feedback", "/metrics": "metrics"}
ASKED_FOR_MODEL = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}
BAD_KEYS = (
    "",
    "Bearer",
    "Bearer ",
    "Bearer pr-",
    "Bearer pr-" + "a" * 100_000,
    "Bearer \xd0\xba",
    "Basic cHI6",
    "pr-x",
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[tuple[str, str], Reply]:
    """What every path answered to everybody."""
    folder = tmp_path_factory.mktemp("gateway")
    found: dict[tuple[str, str], Reply] = {}

    async def scenario(upstream: FaultyUpstream, gateway: InProcess, secrets: dict[str, str | None]) -> None:
        for path, of in PATHS.items():
            for who, secret in secrets.items():
                address = path + "small" if path.endswith("/") else path
                asked = gateway.post(address, BODIES[path], key=secret) if of.method == "POST" else None
                before = len(upstream.requests)
                found[path, who] = await (asked or gateway.get(address, key=secret))
                found[path, who].headers["n-upstream"] = str(len(upstream.requests) - before)
            if of.access is not Access.ANYBODY:
                for header in (*BAD_KEYS, f"Bearer {secrets['revoked']}", f"Bearer {secrets['all rights']}x"):
                    headers = {"content-type": "application/json", "authorization": header}
                    reply = await gateway.ask(of.method, path, [b"{}"], headers=headers)
                    found[path, f"bad: {header[:20]}"] = reply

    async def over(upstream: FaultyUpstream, secrets: dict[str, str | None]) -> None:
        async with in_process(folder, upstream.base_url) as gateway:
            await scenario(upstream, gateway, secrets)

    revoked, revoked_secret = make_key(folder, "revoked")
    engine = open_database(f"sqlite:///{folder / 'journal.db'}")
    revoke_key(engine, revoked.key_id)
    engine.dispose()
    secrets = {
        "nobody": None,
        "revoked": revoked_secret,
        "no rights": make_key(folder, "no rights", rights=())[1],
        "one model": make_key(folder, "one model", routes=["small"], rights=tuple(RIGHTS))[1],
        "all rights": make_key(folder, "all rights", rights=tuple(RIGHTS))[1],
    }
    with FaultyUpstream() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", "sk-upstream")
        asyncio.run(over(upstream, secrets))
    return found


def test_every_path_that_takes_a_body_is_in_this_matrix():
    assert {path for path, of in PATHS.items() if of.method == "POST"} == set(BODIES)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_valid_key_only_open_paths_answer(answers, path):
    is_open = PATHS[path].access is Access.ANYBODY
    strangers = [who for of, who in answers if of == path and (who in ("nobody", "revoked") or who.startswith("bad: "))]

    assert len(strangers) == (2 if is_open else 12)
    for who in strangers:
        reply = answers[path, who]
        assert reply.status == (200 if is_open else 401), who
        if not is_open:
            assert reply.error == answers["/v1/models", "nobody"].error  # one text for all: nothing to learn from it
            assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.headers.get("n-upstream", "0") == "0"


@pytest.mark.parametrize("path", PATHS)
def test_a_key_without_the_right_is_refused_where_one_is_needed(answers, path):
    reply = answers[path, "no rights"]

    if path in NEEDS_RIGHT:
        assert (reply.status, reply.error["code"], reply.error["type"]) == (
            403,
            "permission_denied",
            "permission_error",
        )
        assert NEEDS_RIGHT[path] in reply.error["message"]
    else:
        assert reply.status not in (401, 403)
        assert "x-prefroute-win-rate" not in reply.headers
        assert "x-prefroute-reason" not in reply.headers


@pytest.mark.parametrize("path", sorted(ASKED_FOR_MODEL | {"/v1/route"}))
def test_a_key_for_one_model_reaches_no_other(answers, path):
    reply = answers[path, "one model"]

    assert (reply.status, reply.error["code"]) == (403, "permission_denied")
    assert reply.headers["n-upstream"] == "0"


@pytest.mark.parametrize("path", PATHS)
def test_a_key_with_all_rights_is_let_through(answers, path):
    reply = answers[path, "all rights"]

    assert reply.status not in (401, 403)
    assert (reply.headers["n-upstream"] != "0") == (path in ASKED_FOR_MODEL)


def test_a_key_sees_only_the_models_that_it_may_ask_for(answers):
    names = {
        who: [model["id"] for model in answers["/v1/models", who].json["data"]] for who in ("one model", "all rights")
    }

    assert names == {"one model": ["small"], "all rights": ["auto", "big", "small"]}
