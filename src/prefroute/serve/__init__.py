"""The gateway: an OpenAI-compatible server that sends each request to the model that a router and a policy choose.

The doors are `prefroute.serve.loading.load_runtime`, which makes everything of a configuration file that requests are
served with, and `prefroute.serve.server.run`, which serves it. Async lives in this room only. It must not know how a
router makes its scores.
"""

from __future__ import annotations

__all__: list[str] = []
