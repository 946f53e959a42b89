"""What the router in the package is worth: every figure of its model card and of docs/shipped-router.md.

    python scripts/train_default.py --data DIR --out src/prefroute/default   # the weights
    python -m scripts.shipped --data DIR                                     # what is known of them

`held_out` measures on questions that were not trained on, `transfer` on pairs of models that played no part, `probes`
on text that is no benchmark's; `diagram` draws; `page`, with `others` and `unlike`, writes Markdown from the JSON and
nothing else. `rivals` is a step of its own: routers with MiniLM and torch, trained on the same rows.
"""
