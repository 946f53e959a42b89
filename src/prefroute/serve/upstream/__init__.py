"""Sends a request to the models in turn until one answers, and hands its answer on as it comes.

The doors are `Upstreams.send` and the `Answer` that it returns. It knows connections, deadlines, failures and the
framing of answers; it must not know why a model was chosen, nor what becomes of the answer.
"""

from __future__ import annotations

from prefroute.serve.upstream.answer import Answer
from prefroute.serve.upstream.events import DONE
from prefroute.serve.upstream.upstreams import Upstreams
from prefroute.serve.upstream.usage import Usage

__all__ = ["DONE", "Answer", "Upstreams", "Usage"]
