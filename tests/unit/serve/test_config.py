"""The gateway's file: what it means, and that everything wrong with it is said at once, with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prefroute.errors import ConfigError
from prefroute.serve.addresses import is_forbidden
from prefroute.serve.config import GatewayConfig, read_gateway
from prefroute.serve.starting import starting_gateway
from prefroute.settings.model import Section

MODELS = """\
models:
  big: {base_url: "http://127.0.0.1:1/v1", usd_per_mtok_in: 2, usd_per_mtok_out: 8}
  small: {base_url: "http://127.0.0.1:2/v1", usd_per_mtok_in: 0.1, usd_per_mtok_out: 0.4}
  free: {base_url: "http://127.0.0.1:3/v1"}
"""


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        file = tmp_path / "gateway.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return _write


@pytest.fixture
def accept(write):
    def _accept(text: str) -> GatewayConfig:
        return read_gateway(write(text)).value

    return _accept


@pytest.fixture
def refuse(write):
    """The message that a text is refused with, on one line, with FILE in place of the path."""

    def _refuse(text: str) -> str:
        file = write(text)
        with pytest.raises(ConfigError) as caught:
            read_gateway(file)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(str(file), "FILE")

    return _refuse


def route(text: str) -> str:
    return f"{MODELS}routes:\n  auto: {{candidates: [big, small], {text}}}\n"


def model(text: str) -> str:
    return f'models:\n  big: {{base_url: "http://127.0.0.1:1/v1", {text}}}\n'


def test_starting_file_is_valid_once_the_key_is_set(accept, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")

    config = accept(starting_gateway())

    assert set(config.models) == {"big", "small"}
    assert config.routes["auto"].candidates == ("big", "small")


def test_starting_file_is_valid_with_every_example_switched_on(accept, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    example = re.compile(r"( +)# ([a-z_]+: \S.*)")
    lines = [
        found[1] + found[2] if (found := example.fullmatch(line)) else line for line in starting_gateway().split("\n")
    ]

    config = accept("\n".join(lines))

    assert config.journal.redact == ("email", "phone")
    assert config.models["big"].query == {"api-version": "2024-10-21"}
    assert config.routes["auto"].sticky


def test_examples_of_the_starting_file_show_the_defaults(accept):
    shown = dict(re.findall(r"^  # ([a-z_]+): (\S+)", starting_gateway().split("models:")[0], flags=re.MULTILINE))

    config = accept(MODELS)

    shown |= {"retention_days": "None", "redact": "()"}  # these two have no default that could be shown
    defaults = {**config.server.model_dump(), **config.journal.model_dump()}
    assert {name: str(defaults[name]).removesuffix(".0").lower() for name in shown} == {
        name: value.lower() for name, value in shown.items()
    }


def test_every_setting_has_a_default_beside_the_models(accept):
    config = accept('models:\n  one: {base_url: "https://api.openai.com/v1/"}\n')

    assert (config.server.host, config.server.port, config.server.workers) == ("127.0.0.1", 8000, 1)
    assert config.models["one"].base_url == "https://api.openai.com/v1"
    assert config.routes == {}
    assert not config.journal.store_prompts


def test_empty_sections_have_their_defaults(accept):
    config = accept(f"server:\njournal:\n{route('policy: ')}")

    assert config.server.port == 8000
    assert config.routes["auto"].policy is None


def test_paths_are_taken_from_the_folder_of_the_file(accept, tmp_path):
    config = accept(route("router: runs/mf, policy: {strong_share: 0.3, prompts: mine.txt}"))

    policy = config.routes["auto"].policy
    assert config.journal.url == f"sqlite:///{tmp_path / 'prefroute.db'}"
    assert config.routes["auto"].router == str(tmp_path / "runs/mf")
    assert policy is not None
    assert policy.prompts == tmp_path / "mine.txt"


def test_absolute_journal_stays_where_it_is(accept, tmp_path):
    assert accept(f"{MODELS}journal: {{url: 'sqlite:////var/x.db'}}").journal.url == "sqlite:////var/x.db"


def test_all_problems_of_all_sections_are_said_at_once_in_the_order_of_lines(refuse):
    message = refuse(
        """\
server:
  port: 70000
  wrokers: 2
journal:
  url: mysql://h/db
models:
  big:
    base_ulr: http://127.0.0.1/v1
  small:
    base_url: http://169.254.169.254/v1
    usd_per_mtok_in: -1
    capabilities: [tool]
routes:
  auto:
    candidates: [big, smal]
    deadline_ms: 0
"""
    )

    assert message.startswith(
        "FILE: 10 problems: FILE:2: server.port: should be less than or equal to 65535, got 70000; "
    )
    wanted = [
        "FILE:3: server.wrokers: not a setting (did you mean 'workers'?)",
        "FILE:5: journal.url: the journal is sqlite:///FILE or postgresql://",
        "FILE:7: models.big: `base_url` is missing",
        "FILE:8: models.big.base_ulr: not a setting (did you mean 'base_url'?)",
        "FILE:10: models.small.base_url: this is a link-local or metadata address",
        "FILE:11: models.small.usd_per_mtok_in: should be greater than or equal to 0, got -1",
        "FILE:12: models.small.capabilities.0: should be 'tools', 'images', 'audio', 'files' or 'json_schema', got ",
        "FILE:15: routes.auto.candidates.1: Unknown model 'smal'. Did you mean 'small'? Available: big, small",
        "FILE:16: routes.auto.deadline_ms: should be greater than 0, got 0",
    ]
    places = [message.index(text) for text in wanted]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("strong: free", "routes.auto.strong: must be one of the candidates: big, small."),
        ("weak: free", "routes.auto.weak: must be one of the candidates: big, small."),
        ("strong: big, weak: big", "routes.auto.weak: `strong` and `weak` must be two models."),
        ("fallbacks: [bgi]", "routes.auto.fallbacks.0: Unknown model 'bgi'. Did you mean 'big'?"),
        ("fallbacks: [small, small]", "routes.auto.fallbacks: 'small' stands twice."),
        ("fallbacks: [auto]", "routes.auto.fallbacks.0: Unknown model 'auto'."),
        ("default: nope", "routes.auto.default: Unknown model 'nope'."),
        ("epsilon: 1", "routes.auto.epsilon: should be less than 1, got 1."),
        ("epsilon: .nan", "routes.auto.epsilon: should be a finite number, got nan."),
        ("policy: {threshold: 1.5}", "routes.auto.policy.threshold: should be less than or equal to 1, got 1.5."),
        ("policy: {}", "routes.auto.policy: set one of threshold, strong_share, usd_weight, not none."),
        ("policy: {threshold: 0.5, usd_weight: 2}", "not threshold and usd_weight."),
        ("policy: {threshold: 0.5, prompts: x}", "routes.auto.policy: `prompts` goes with `strong_share`."),
        ("plicy: {threshold: 0.5}", "routes.auto.plicy: not a setting (did you mean 'policy'?)."),
        ("policy: {treshold: 0.5}", "routes.auto.policy.treshold: not a setting (did you mean 'threshold'?)."),
    ],
)
def test_route_that_cannot_be_is_refused(refuse, text, problem):
    assert problem in refuse(route(text))


@pytest.mark.parametrize("setting", ["policy: {usd_weight: 2}", "sticky: true"])
def test_what_compares_prices_needs_the_price_of_every_candidate(refuse, accept, setting):
    message = refuse(f"{MODELS}routes:\n  auto: {{candidates: [big, free], {setting}}}\n")

    assert "and 'free' has none. Give it usd_per_mtok_in and usd_per_mtok_out." in message
    assert accept(route(setting)).routes["auto"].candidates == ("big", "small")


@pytest.mark.parametrize("candidates", ["[]", "[big]", "[big, big]"])
def test_route_chooses_between_two_different_models(refuse, candidates):
    assert "FILE:6: routes.auto.candidates: " in refuse(f"{MODELS}routes:\n  auto: {{candidates: {candidates}}}\n")


def test_route_and_model_of_one_name_are_refused(refuse):
    message = refuse(f"{MODELS}routes:\n  free: {{candidates: [big, small]}}\n")

    assert message == "FILE:6: routes.free: a model has this name too; clients could not tell them apart. Rename one."


def test_gateway_without_models_is_refused(refuse):
    assert refuse("server: {port: 1}") == "FILE:1: the file: `models` is missing."
    assert "FILE:1: models: " in refuse("models: {}")


@pytest.mark.parametrize("name", ["'a b'", "''", '"a\\nb"', "x" * 201])
def test_name_that_would_not_fit_in_a_header_or_a_metric_is_refused(refuse, name):
    assert "a name must have 1 to 200 printable characters" in refuse(
        f'models:\n  {name}: {{base_url: "http://h/v1"}}\n'
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:8000/v1", "must start with http:// or https://"),
        ("ftp://host/v1", "must start with http:// or https://"),
        ("http://user:pw@host/v1", "must hold no user, password, query or fragment"),
        ("http://host/v1?key=1", "must hold no user, password, query or fragment"),
        ("http://[::1/v1", "is not a URL"),
        ("http://169.254.169.254/latest", "link-local or metadata address"),
        ("http://[fe80::1]/v1", "link-local or metadata address"),
        ("http://[::ffff:169.254.169.254]/v1", "link-local or metadata address"),
        ("http://2852039166/v1", "link-local or metadata address"),
        ("http://0xa9fea9fe/v1", "link-local or metadata address"),
        ("http://metadata.google.internal/v1", "link-local or metadata address"),
        (f"http://{'ä' * 70}.example/v1", "this host is no name that can be looked up"),
        ("http://h..example/v1", "this host is no name that can be looked up"),
        (f"http://{'x' * 64}.example/v1", "this host is no name that can be looked up"),
    ],
)
def test_base_url_that_no_upstream_may_have_is_refused(refuse, url, problem):
    message = refuse(f"models:\n  big: {{base_url: '{url}'}}\n")

    assert "FILE:2: models.big.base_url: " in message
    assert problem in message


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:8000/v1", "http://192.168.1.2/v1", "http://[fd00::7]/v1", "https://vllm.internal/v1"]
)
def test_private_network_is_where_upstreams_may_be(accept, url):
    assert accept(f"models:\n  big: {{base_url: '{url}'}}\n").models["big"].base_url == url


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_link_local_address_is_forbidden_in_every_spelling(address):
    number = int(address)

    spellings = [
        str(address),
        str(number),
        hex(number),
        f"::ffff:{address}",
        f"64:ff9b::{number >> 16:x}:{number & 65535:x}",
    ]

    assert all(is_forbidden(spelling) for spelling in spellings)


def test_key_is_taken_from_the_environment_and_shown_nowhere(accept, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-canary")

    config = accept(model("api_key: '${MY_KEY}'"))

    key = config.models["big"].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-canary"
    assert "sk-canary" not in repr(config)


@pytest.mark.parametrize("written", ["sk-canary", "sk-${MY_KEY}", "${MY_KEY}-canary"])
def test_key_in_the_file_is_refused_and_not_repeated(refuse, monkeypatch, written):
    monkeypatch.setenv("MY_KEY", "sk-canary-2")

    message = refuse(model(f"api_key: '{written}'"))

    assert "models.big.api_key: a key must not stand in the file. Write ${NAME}" in message
    assert "canary" not in message


def test_variable_that_is_not_set_is_named_once(refuse, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)

    message = refuse(model("api_key: '${MY_KEY}'"))

    assert message == (
        "FILE:2: models.big.api_key: the environment variable MY_KEY is not set. Set it, or drop the line."
    )


@pytest.mark.parametrize("value", ["sk canary", "sk-canary\n", "sk-cänary"])
def test_key_that_no_header_can_carry_is_refused(refuse, monkeypatch, value):
    monkeypatch.setenv("MY_KEY", value)

    message = refuse(model("api_key: '${MY_KEY}'"))

    assert "models.big.api_key: `api_key` must be non-empty ASCII" in message
    assert value not in message


@pytest.mark.parametrize("key", ["base_url", "model", "key_header"])
def test_secret_in_the_wrong_place_is_in_no_message(refuse, monkeypatch, key):
    monkeypatch.setenv("MY_KEY", "sk-canary")

    message = refuse(
        f"models:\n  big: {{base_url: 'ftp://h', {key}: '${{MY_KEY}}', oops: 1}}\n".replace(
            "base_url: 'ftp://h', base_url", "base_url"
        )
    )

    assert "sk-canary" not in message


def test_password_of_the_journal_comes_from_the_environment(refuse, accept, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "canary")

    config = accept(f"{MODELS}journal: {{url: 'postgresql://me:${{PGPASSWORD}}@db/prefroute'}}")

    assert config.journal.url == "postgresql://me:canary@db/prefroute"
    assert "canary" not in repr(config)
    for written in ("me:canary@db/prefroute", "me:x${PGPASSWORD}@db/prefroute", "me@db/prefroute?password=canary"):
        message = refuse(f"{MODELS}journal: {{url: 'postgresql://{written}'}}")
        assert "journal.url: a password must not stand in the file." in message
        assert "canary" not in message


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://h/db", "prefroute.db"])
def test_journal_that_would_keep_nothing_is_refused(refuse, url):
    assert "journal.url: the journal is sqlite:///FILE or " in refuse(f"{MODELS}journal: {{url: '{url}'}}")


def test_redaction_that_is_no_pattern_is_refused(refuse, accept):
    assert "journal.redact.1: Redaction '(a'" in refuse(f"{MODELS}journal: {{redact: [email, '(a']}}")
    assert accept(f"{MODELS}journal: {{redact: [email, 'a+']}}").journal.redact == ("email", "a+")


def test_half_a_price_is_refused(refuse):
    assert "models.big: give usd_per_mtok_in and usd_per_mtok_out, or neither." in refuse(model("usd_per_mtok_in: 1"))


@pytest.mark.parametrize("name", ["api-key", "subscription-key", "apiKey", "access_token", "secret", "sig", "code"])
def test_secret_in_a_query_is_refused_unless_it_comes_from_the_environment(refuse, accept, monkeypatch, name):
    monkeypatch.setenv("QUERY_SECRET", "s3cret")

    message = refuse(model(f"query: {{{name}: s3cret}}"))

    problem = f"{name!r} looks like a secret. Write ${{NAME}} and set the environment variable NAME."
    assert message == f"FILE:2: models.big.query: {problem}"
    assert "looks like a secret" in refuse(model(f'query: {{{name}: "a${{QUERY_SECRET}}"}}'))
    assert accept(model(f'query: {{{name}: "${{QUERY_SECRET}}"}}')).models["big"].query == {name: "s3cret"}


def test_who_asks_no_model_needs_none_of_their_secrets(write):
    file = write(model('api_key: "${NOT_SET}", query: {sig: "${NOT_SET}", api-version: "1"}'))

    found = read_gateway(file, with_keys=False).value.models["big"]

    assert (found.api_key, found.query) == (None, {"sig": "", "api-version": "1"})
    with pytest.raises(ConfigError, match=r"big\.query\.sig: the environment variable NOT_SET is not set"):
        read_gateway(file)


@pytest.mark.parametrize("name", ["api-version", "encoding", "keyspace", "max_tokens"])
def test_other_names_in_a_query_may_have_any_text(accept, name):
    assert accept(model(f'query: {{{name}: "1"}}')).models["big"].query == {name: "1"}


def test_date_that_is_meant_as_text_is_refused_with_the_advice_to_quote_it(refuse):
    message = refuse(model("query: {api-version: 2024-10-21}"))

    assert (
        "models.big.query.api-version: must be text, in quotes where YAML would read it as something else." in message
    )


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["big", "auto", "${X}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
_PATHS = (
    *((section,) for section in ("server", "journal", "models", "routes")),
    *(("server", key) for key in ("host", "port", "drain_s", "log")),
    *(("journal", key) for key in ("url", "redact", "retention_days")),
    *(
        ("models", "big", key)
        for key in ("base_url", "api_key", "query", "capabilities", "timeouts", "usd_per_mtok_in")
    ),
    *(
        ("routes", "auto", key)
        for key in ("router", "candidates", "strong", "policy", "fallbacks", "sticky", "epsilon")
    ),
)


@given(changes=st.lists(st.tuples(st.sampled_from(_PATHS), _VALUES), min_size=1, max_size=3))
def test_whatever_stands_in_the_file_is_taken_or_refused_on_one_line(tmp_path_factory, changes):
    content = yaml.safe_load(f"{MODELS}routes:\n  auto: {{candidates: [big, small]}}\n")
    for (*sections, key), value in changes:
        where = content
        for section in sections:
            where = where.setdefault(section, {}) if isinstance(where, dict) else {}
        if isinstance(where, dict):
            where[key] = value
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=False), encoding="utf-8")

    message = str(file)
    try:
        read_gateway(file)
    except ConfigError as error:
        message = str(error)

    assert "\n" not in message
    assert message.startswith(str(file))


def test_missing_file_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(ConfigError, match="Run `prefroute init --gateway` to write one"):
        read_gateway(tmp_path / "none.yaml")


_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "gateway-config.md"


def test_every_setting_of_the_gateway_is_documented_with_its_default():
    from prefroute.serve import config

    cells = dict(re.findall(r"^\| `([\w.]+)` \| `?(.*?)`? \|", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    sections: dict[str, type[Section]] = {
        "server": config.ServerSection,
        "journal": config.JournalSection,
        "models.NAME": config.ModelSection,
        "models.NAME.timeouts": config.TimeoutsSection,
        "routes.NAME": config.RouteSection,
        "routes.NAME.policy": config.PolicySection,
    }
    fields = {
        f"{name}.{key}": field
        for name, section in sections.items()
        for key, field in section.model_fields.items()
        if f"{name}.{key}" not in sections
    }

    assert set(fields) == set(cells)
    for key, field in fields.items():
        if isinstance(field.default, bool | int | float | str):
            assert cells[key] == str(field.default).lower().removesuffix(".0"), key
