"""litellm as a client, unmodified; in the clients' own environment (`make clients`), never in ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.clients.conftest import Serving, a_completion
from tests.servers.faulty_upstream import DONE, ROLE, USAGE, event, stream, whole

pytestmark = pytest.mark.filterwarnings("default")  # its own
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 2 + 2?"}]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
CALL = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
WORDS = [ROLE, event({"content": "Hel"}), event({"content": "lo"}), event({}, "stop"), USAGE, DONE]


@pytest.fixture(scope="session")
def litellm() -> Iterator[Any]:
    """The module, which else fetches a list of prices when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        module = pytest.importorskip("litellm", exc_type=ModuleNotFoundError)
        module.telemetry = False
        yield module


def options(base_url: str, key: str, model: str, **more: Any) -> dict[str, Any]:
    return {"model": f"openai/{model}", "api_base": base_url, "api_key": key, **QUESTION, **more}


def of(serving: Serving, model: str, **more: Any) -> dict[str, Any]:
    return options(serving.base_url, serving.key, model, **more)


def said(answer: Any) -> Any:
    """What an answer or a part of one says, without what every run makes anew."""
    return answer.model_dump(include={"choices", "usage"})


@pytest.mark.parametrize("more", [{"temperature": 0.5, "seed": 3}, {"tools": [WEATHER]}, {"n": 2, "logprobs": True}])
def test_an_answer_is_the_same_as_without_a_gateway(serving, upstream, litellm, more):
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]} if "tools" in more else None
    upstream.always(whole(200, a_completion(message)))

    def ask_asynchronously(*where: str) -> Any:
        return said(asyncio.run(litellm.acompletion(**options(*where, **more))))

    answer = serving.compare(lambda *where: said(litellm.completion(**options(*where, **more))))

    assert serving.compare(ask_asynchronously) == answer
    assert answer["usage"]["total_tokens"] == 9


def test_structured_output_is_the_same_as_without_a_gateway(serving, upstream, litellm):
    upstream.always(whole(200, a_completion({"role": "assistant", "content": '{"city": "Bern"}'})))
    schema = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}

    answer = serving.compare(lambda *where: said(litellm.completion(**options(*where, response_format=schema))))

    assert answer["choices"][0]["message"]["content"] == '{"city": "Bern"}'
    assert upstream.requests[0].body["response_format"] == schema


def test_streams_are_the_same_as_without_a_gateway(serving, upstream, litellm):
    upstream.always(*stream(*WORDS))

    def text(parts: list[Any]) -> str:
        return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)

    def ask(*where: str) -> Any:
        return text(list(litellm.completion(**options(*where, stream=True))))

    def ask_asynchronously(*where: str) -> Any:
        async def over() -> Any:
            parts = await litellm.acompletion(**options(*where, stream=True))
            return text([part async for part in parts])

        return asyncio.run(over())

    assert serving.compare(ask) == "Hello"
    assert serving.compare(ask_asynchronously) == "Hello"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"api_key": "pr-wrong"}, "AuthenticationError"),
        ({"model": "openai/nobody"}, "NotFoundError"),
        ({"messages": []}, "BadRequestError"),
    ],
)
def test_what_is_refused_is_a_typed_error_and_reaches_no_model(serving, upstream, litellm, change, error):
    with pytest.raises(getattr(litellm, error)):
        litellm.completion(**{**of(serving, "auto"), **change})

    assert upstream.requests == []


def test_a_model_that_gives_no_answer_is_not_asked_again_by_the_client(serving, upstream, litellm):
    upstream.always(whole(200, {"choices": []}))
    before = serving.n_requests()

    with pytest.raises(litellm.BadGatewayError):
        litellm.completion(**of(serving, serving.frail()))

    assert serving.n_requests() - before == len(upstream.requests) == 1


def test_a_stream_that_is_cut_raises(serving, upstream, litellm):
    upstream.does(*stream(ROLE, event({"content": "Hel"})))

    with pytest.raises(litellm.exceptions.MidStreamFallbackError, match="not complete"):
        list(litellm.completion(**of(serving, serving.frail(), stream=True)))
