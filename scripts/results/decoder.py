"""Makes a small pretrained decoder for the `causal_llm` row where no model hub is at hand.

    python -m scripts.results.decoder runs/minilm-decoder

all-MiniLM-L6-v2 (22M parameters, six layers) with a causal mask in place of attention in both directions, and a
language-model head that is its own embedding matrix. It is no language model of the size that the paper fine-tunes;
the row is named as what it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import transformers

from prefroute.embed.transformer import minilm_folder


def main() -> None:
    """Write the folder that `causal_llm` takes as its `base`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    source = minilm_folder()
    config = transformers.AutoConfig.from_pretrained(source, is_decoder=True, tie_word_embeddings=True)
    torch.manual_seed(0)  # the head's own layer has no pretrained values
    transformers.BertLMHeadModel.from_pretrained(source, config=config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)


if __name__ == "__main__":
    main()
