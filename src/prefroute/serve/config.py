"""The gateway's configuration file as typed values; docs/reference/gateway-config.md describes every key.

The door is `read_gateway`. Everything that can be known without opening a checkpoint is checked here, across sections
too, and reported at once. Importing this module loads pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from prefroute.errors import ConfigError, nearest
from prefroute.http import Endpoint
from prefroute.serve.addresses import is_forbidden
from prefroute.serve.runtime import Capability, Deadlines
from prefroute.settings.file import REFERENCE, Expanded, ReadFile, read_file
from prefroute.settings.model import PathText, Section

__all__ = [
    "GatewayConfig",
    "JournalSection",
    "ModelSection",
    "PolicySection",
    "RouteSection",
    "ServerSection",
    "TimeoutsSection",
    "read_gateway",
]

_DEADLINES = Deadlines()
_SECRET = re.compile(r"(key|token|secret|password|signature|sig|code)$", re.IGNORECASE)  # how such names end


def _values(info: ValidationInfo, section: str) -> Mapping[str, Any]:
    """A section of the file as it was written, for checks that reach from one section into another."""
    found = (info.context or {}).get("values", {}).get(section)
    return found if isinstance(found, dict) else {}


def _template(value: str) -> str:
    return value.template if isinstance(value, Expanded) else value


def _checked_name(name: str) -> str:
    if not name.isprintable() or " " in name or not 0 < len(name) <= 200:
        raise ValueError("a name must have 1 to 200 printable characters, without spaces")
    return name


def _known_model(name: str, info: ValidationInfo) -> str:
    models = _values(info, "models")
    if name not in models:
        raise ValueError(nearest(name, map(str, models), "model"))
    return name


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]!r} stands twice. Name each once")
    return names


def _two_or_more(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) < 2:
        raise ValueError("a route chooses between two models or more. To pass through, clients name the model itself")
    return _distinct(names)


def _checked_url(url: str) -> str:
    try:
        Endpoint(url)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc
    host = urlsplit(url).hostname or ""
    try:
        host.encode("idna")
    except UnicodeError as exc:
        raise ValueError("this host is no name that can be looked up. Write it as the provider does") from exc
    if is_forbidden(host):
        raise ValueError("this is a link-local or metadata address, which could give away the machine's credentials")
    return url.rstrip("/")


def _only_a_reference(value: object) -> object:
    if isinstance(value, str) and not REFERENCE.fullmatch(_template(value)):
        raise ValueError("a key must not stand in the file. Write ${NAME} and set the environment variable NAME")
    return value


def _no_written_secrets(query: object) -> object:
    for name, value in query.items() if isinstance(query, dict) else ():
        if _SECRET.search(str(name)) and isinstance(value, str) and not REFERENCE.fullmatch(_template(value)):
            raise ValueError(f"{name!r} looks like a secret. Write ${{NAME}} and set the environment variable NAME")
    return query


def _checked_key(key: SecretStr) -> SecretStr:
    try:
        Endpoint("http://localhost", key.get_secret_value())
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc
    return key


def _no_written_password(url: object) -> object:
    if isinstance(url, str):
        parts = urlsplit(_template(url))
        if "password" in parts.query or (parts.password and not REFERENCE.fullmatch(parts.password)):
            raise ValueError("a password must not stand in the file. Write postgresql://USER:${NAME}@HOST/DATABASE")
    return url


def _checked_journal(url: str, info: ValidationInfo) -> str:
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgresql+psycopg"):
        return url
    if scheme != "sqlite" or not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise ValueError("the journal is sqlite:///FILE or postgresql://USER:${NAME}@HOST/DATABASE")
    folder = (info.context or {}).get("folder", Path())
    return f"sqlite:///{(folder / rest.removeprefix('/')).resolve()}"


def _checked_pattern(pattern: str) -> str:
    from prefroute.journal import Redaction

    try:
        Redaction([pattern])
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc
    return pattern


_Name = Annotated[str, AfterValidator(_checked_name)]
_ModelName = Annotated[str, AfterValidator(_known_model)]
_Seconds = Annotated[float, Field(gt=0)]


class ServerSection(Section):
    """Where the gateway listens, and its limits.

    Attributes:
        host: Address to listen on; other than loopback needs keys.
        port: TCP port; 0 lets the operating system choose.
        workers: Processes, >= 1.
        max_body_mb: Largest request body, MiB.
        header_s: Seconds for a request's headers to arrive.
        body_s: Seconds for its body to arrive.
        write_s: Seconds that a client may leave an answer unread.
        drain_s: Seconds that running requests get when the server is told to stop, >= 0.
        max_in_flight: Requests at once, for each worker; more are refused with 503.
        log: How log lines look.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    max_body_mb: float = Field(default=20.0, gt=0, le=1024)
    header_s: _Seconds = 10.0
    body_s: _Seconds = 30.0
    write_s: _Seconds = 60.0
    drain_s: float = Field(default=30.0, ge=0)
    max_in_flight: int = Field(default=1000, ge=1)
    log: Literal["json", "text"] = "json"


class JournalSection(Section):
    """What is kept of each request, and where.

    Attributes:
        url: SQLite or PostgreSQL; a SQLite path is made absolute.
        store_prompts: Whether the scored text is kept, and not only its hash.
        store_embeddings: Whether the vector that the router saw is kept.
        retention_days: Rows older than this are removed; None keeps them.
        redact: Regular expressions, or names of ready-made ones, that are blanked before text is kept.
        on_failure: Whether requests are refused or served when the journal cannot be written.
    """

    url: Annotated[str, BeforeValidator(_no_written_password), AfterValidator(_checked_journal)] = Field(
        default="sqlite:///prefroute.db", repr=False, validate_default=True
    )
    store_prompts: bool = False
    store_embeddings: bool = False
    retention_days: float | None = Field(default=None, gt=0)
    redact: tuple[Annotated[str, Field(min_length=1), AfterValidator(_checked_pattern)], ...] = Field(
        default=(), strict=False
    )
    on_failure: Literal["refuse", "serve"] = "refuse"


class TimeoutsSection(Section):
    """How long one attempt at a model may take, seconds; see `prefroute.serve.runtime.Deadlines`.

    Attributes:
        connect_s: Until the connection stands.
        first_token_s: Until the first content of a stream.
        answer_s: Until the first byte of an answer that is not streamed.
        idle_s: Between two pieces.
        total_s: For the whole attempt.
    """

    connect_s: _Seconds = _DEADLINES.connect_s
    first_token_s: _Seconds = _DEADLINES.first_token_s
    answer_s: _Seconds = _DEADLINES.answer_s
    idle_s: _Seconds = _DEADLINES.idle_s
    total_s: _Seconds = _DEADLINES.total_s


class ModelSection(Section):
    """One model behind an OpenAI-compatible endpoint.

    Attributes:
        base_url: Up to and including `/v1`.
        model: What the endpoint calls it; the section's name where unsaid.
        api_key: `${NAME}`, never the key itself.
        key_header: Header that carries the key; `authorization` adds "Bearer".
        query: Added to each request's URL; what is named like a secret is `${NAME}` too.
        usd_per_mtok_in: US dollars per million tokens read, >= 0.
        usd_per_mtok_out: US dollars per million tokens written, >= 0.
        cached_share: Price of a token from the endpoint's prompt cache, as a share of `usd_per_mtok_in`, in [0, 1].
        context_tokens: Longest prompt with its answer, tokens.
        capabilities: What it takes beyond text.
        timeouts: For each attempt.
    """

    base_url: Annotated[str, AfterValidator(_checked_url)]
    model: str | None = Field(default=None, min_length=1)
    api_key: Annotated[SecretStr, BeforeValidator(_only_a_reference), AfterValidator(_checked_key)] | None = None
    key_header: Literal["authorization", "api-key", "x-api-key"] = "authorization"
    query: Annotated[dict[str, str], BeforeValidator(_no_written_secrets)] = Field(default_factory=dict, repr=False)
    usd_per_mtok_in: float | None = Field(default=None, ge=0)
    usd_per_mtok_out: float | None = Field(default=None, ge=0)
    cached_share: float = Field(default=0.25, ge=0, le=1)
    context_tokens: int | None = Field(default=None, ge=1)
    capabilities: tuple[Capability, ...] = Field(default=(), strict=False)
    timeouts: TimeoutsSection = TimeoutsSection()

    @model_validator(mode="after")
    def _whole_price(self) -> Self:
        if (self.usd_per_mtok_in is None) != (self.usd_per_mtok_out is None):
            raise ValueError("give usd_per_mtok_in and usd_per_mtok_out, or neither")
        return self


class PolicySection(Section):
    """How a model is chosen from the scores; exactly one of the three.

    Attributes:
        threshold: Strong iff the win rate is at least this, in [0, 1].
        strong_share: Share of requests for the strong model, in [0, 1].
        prompts: Your prompts, from which the threshold for `strong_share` is chosen.
        usd_weight: Quality that one US dollar per request is worth, >= 0.
    """

    threshold: float | None = Field(default=None, ge=0, le=1)
    strong_share: float | None = Field(default=None, ge=0, le=1)
    prompts: PathText | None = None
    usd_weight: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        kinds = ("threshold", "strong_share", "usd_weight")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"set one of {', '.join(kinds)}, not {' and '.join(given) or 'none'}")
        if self.prompts is not None and self.strong_share is None:
            raise ValueError("`prompts` goes with `strong_share`")
        return self


class RouteSection(Section):
    """A name that clients use as a model, and how a model is chosen for it.

    Attributes:
        router: "default", or the folder of a checkpoint.
        candidates: Models to choose from, >= 2.
        strong: The candidate that stands for the router's strong model; unsaid, the candidate of the router's own
            strong model's name, or else the first that is not `weak`.
        weak: Likewise; or else the last that is not `strong`.
        policy: Unsaid, the one that is kept beside the router.
        fallbacks: Models to try when the chosen one fails; unsaid, the other candidates.
        default: The model when scoring fails or is late; unsaid, the strong one, so that an answer is never worse
            for it.
        epsilon: Share of requests that get a candidate drawn at random, in [0, 1).
        sticky: Whether a conversation stays on its model while a switch costs more than it saves; unsaid, where every
            candidate has a price.
        deadline_ms: How long scoring may take.
    """

    router: str = Field(default="default", min_length=1)
    candidates: Annotated[tuple[_ModelName, ...], Field(strict=False), AfterValidator(_two_or_more)]
    strong: _ModelName | None = None
    weak: _ModelName | None = None
    policy: PolicySection | None = None
    fallbacks: Annotated[tuple[_ModelName, ...], Field(strict=False), AfterValidator(_distinct)] | None = None
    default: _ModelName | None = None
    epsilon: float = Field(default=0.0, ge=0, lt=1)
    sticky: bool | None = None
    deadline_ms: float = Field(default=150.0, gt=0)

    @field_validator("router")
    @classmethod
    def _router_folder(cls, router: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder", Path())
        return router if router == "default" else str(folder / router)

    @field_validator("strong", "weak")
    @classmethod
    def _among_candidates(cls, name: str | None, info: ValidationInfo) -> str | None:
        candidates = info.data.get("candidates")
        if name is not None and candidates and name not in candidates:
            raise ValueError(f"must be one of the candidates: {', '.join(candidates)}")
        if name is not None and name == info.data.get("strong"):
            raise ValueError("`strong` and `weak` must be two models")
        return name

    @field_validator("policy")
    @classmethod
    def _priced(cls, policy: PolicySection | None, info: ValidationInfo) -> PolicySection | None:
        if policy is not None and policy.usd_weight is not None:
            _check_prices("`usd_weight` weighs quality against prices", info)
        return policy

    @field_validator("sticky")
    @classmethod
    def _sticky_priced(cls, sticky: bool | None, info: ValidationInfo) -> bool | None:
        if sticky:
            _check_prices("`sticky` compares prices", info)
        return sticky


def _check_prices(why: str, info: ValidationInfo) -> None:
    models = _values(info, "models")
    candidates: Sequence[str] = info.data.get("candidates", ())
    missing = [
        name for name in candidates if isinstance(models[name], dict) and models[name].get("usd_per_mtok_in") is None
    ]
    if missing:
        raise ValueError(f"{why}, and {missing[0]!r} has none. Give it usd_per_mtok_in and usd_per_mtok_out")


def _free_name(name: str, info: ValidationInfo) -> str:
    if name in _values(info, "models"):
        raise ValueError("a model has this name too; clients could not tell them apart. Rename one")
    return name


class GatewayConfig(Section):
    """The whole file.

    Attributes:
        server: Where to listen, and limits.
        journal: What is kept.
        models: By the name that clients and routes use.
        routes: By the name that clients use; may be empty, for a gateway that only passes through.
    """

    server: ServerSection = ServerSection()
    journal: Annotated[JournalSection, Field(default_factory=dict, validate_default=True)]  # in the file's folder
    models: dict[_Name, ModelSection] = Field(min_length=1)
    routes: dict[Annotated[_Name, AfterValidator(_free_name)], RouteSection] = Field(default_factory=dict)


def read_gateway(path: Path | str, *, with_keys: bool = True) -> ReadFile[GatewayConfig]:
    """The configuration in a file, checked as a whole; no checkpoint is opened.

    Args:
        path: The YAML file.
        with_keys: Whether the models' keys must be in the environment; commands that only read do not need them.

    Raises:
        ConfigError: If the file cannot be read or anything in it is wrong; the message lists every problem with its
            file, line and key.
    """
    needless = () if with_keys else ("api_key", "query")
    return read_file(path, GatewayConfig, starter="prefroute init --gateway", needless=needless)
