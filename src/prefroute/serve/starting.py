"""The gateway's configuration that `prefroute init --gateway` writes."""

from __future__ import annotations

__all__ = ["starting_gateway"]

_TEXT = """\
# Configuration of the gateway: prefroute serve gateway.yaml
# Every line that is commented out shows its default or an example. Relative paths are taken from this file's folder.
# ${NAME} stands for the environment variable NAME; keys and passwords may be given in no other way.
# Most of this file can be changed while the gateway runs: prefroute reload gateway.yaml

server:
  # An address other than loopback needs keys: prefroute keys create
  host: 127.0.0.1
  port: 8000
  # workers: 1            # processes
  # max_body_mb: 20       # largest request
  # header_s: 10          # seconds for a request's headers to arrive
  # body_s: 30            # seconds for its body to arrive
  # write_s: 60           # seconds that a client may leave an answer unread
  # drain_s: 30           # seconds that running requests get at a stop
  # max_in_flight: 1000   # requests at once in each worker; more are refused
  # log: json             # or text

journal:
  # Or PostgreSQL: postgresql://prefroute:${PGPASSWORD}@localhost/prefroute
  url: sqlite:///prefroute.db
  # The text of prompts is not kept, only a hash of it, unless you say so.
  # store_prompts: false
  # store_embeddings: false
  # retention_days: 90
  # redact: [email, phone]   # blanked before text is kept; names or regular expressions
  # on_failure: refuse       # or serve: answer even where no row can be written

models:
  big:
    base_url: https://api.openai.com/v1
    model: gpt-4.1
    api_key: ${OPENAI_API_KEY}
    # key_header: authorization   # or api-key, x-api-key
    # query: {api-version: "2024-10-21"}
    usd_per_mtok_in: 2.0
    usd_per_mtok_out: 8.0
    # cached_share: 0.25            # price of a cached token as a share of usd_per_mtok_in
    context_tokens: 1000000
    capabilities: [tools, images, json_schema]
    # timeouts: {connect_s: 5, first_token_s: 60, answer_s: 300, idle_s: 30, total_s: 600}
  small:
    base_url: https://api.openai.com/v1
    model: gpt-4.1-nano
    api_key: ${OPENAI_API_KEY}
    usd_per_mtok_in: 0.1
    usd_per_mtok_out: 0.4
    context_tokens: 1000000
    capabilities: [tools, images, json_schema]

routes:
  # Clients ask for the model "auto".
  auto:
    # The router that ships in the package, or the folder that prefroute train wrote.
    router: default
    candidates: [big, small]
    # strong: big
    # weak: small
    # One of: threshold, strong_share, usd_weight. Without a policy, the one that is kept beside the router is used.
    # policy: {threshold: 0.5}
    # When the chosen model fails before its first byte. [] tries no other.
    # fallbacks: [big, small]
    # When scoring fails or is late.
    # default: big
    # Share of requests that get a candidate drawn at random, to learn from.
    # epsilon: 0.0
    # Keep a conversation on its model while a switch costs more than it saves.
    # sticky: true
    # deadline_ms: 150
"""


def starting_gateway() -> str:
    """A commented YAML file that is valid as it stands once OPENAI_API_KEY is set."""
    return _TEXT
