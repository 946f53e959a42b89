"""The tables of docs/results.md, computed from public data and kept as JSON in docs/results.

    make results                                      # everything, from scratch
    python -m scripts.results --data DIR              # what is missing in docs/results, then the page
    python -m scripts.results --data DIR --only mmlu  # one table

`tables` says which rows there are, `sources` what routers are trained on, `rows` computes and keeps them, `similarity`
and `overhead` are the two tables that are no evaluations, `paper` holds the published rows, `page` writes Markdown from
JSON and nothing else. Rows that take hours are made by hand with `evidence`.
"""
