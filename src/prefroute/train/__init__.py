"""Training: one small loop (`prefroute.train.loop`), what it tells on the way (`progress`) and at the end (`report`).

The doors are `prefroute.train.loop.fit_loop` and `prefroute.train.report.save_training_report`; this module imports
neither, because the loop imports torch. Nothing here knows a router: routers call it, never the other way.
"""

from __future__ import annotations

__all__: list[str] = []
