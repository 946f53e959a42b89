"""What is checked of the container files without a container engine: they say what docs/how-to/deploy.md promises."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stages() -> list[list[str]]:
    """The instructions of each stage of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    starts = [i for i, line in enumerate(lines) if line.startswith("FROM ")]
    return [lines[begin:end] for begin, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    return read


def test_the_image_that_is_shipped_holds_no_sources_and_does_not_run_as_root(stages):
    build, shipped = stages

    assert any(line.startswith("COPY src") for line in build)
    assert [line for line in shipped if line.startswith("COPY")] == ["COPY --from=build /opt/prefroute /opt/prefroute"]
    (user,) = [line for line in shipped if line.startswith("USER ")]
    assert int(user.split()[1]) > 0


def test_the_image_knows_its_health_and_takes_signals_itself(stages):
    shipped = stages[-1]

    assert any(re.match(r"HEALTHCHECK .*CMD \[.*/readyz", line) for line in shipped)
    assert 'ENTRYPOINT ["prefroute"]' in shipped  # a shell in between would swallow SIGTERM


def test_everything_that_the_build_copies_gets_past_dockerignore(stages):
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in stages[0] if line.startswith("COPY ") for name in line.split()[1:-1]}

    assert copied <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_compose_takes_every_secret_from_the_environment_and_starts_the_database_first(services):
    text = (ROOT / "deploy" / "compose.yaml").read_text()

    for name in ("OPENAI_API_KEY", "POSTGRES_PASSWORD"):
        assert all(value.startswith("${" + name + ":?") for value in re.findall(rf"^ +{name}: (.*)$", text, re.M))
    assert services["gateway"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert "healthcheck" in services["db"]


def test_compose_gives_the_gateway_longer_to_stop_than_it_takes_to_drain(services):
    from prefroute.serve.config import ServerSection

    grace_s = int(services["gateway"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > ServerSection().drain_s
