"""Fine-tunes a float encoder on a task's labelled data and writes a Hugging Face checkpoint directory.

    python tools/finetune.py CHECKPOINT_DIR --task sst2 --data train.tsv -o OUTPUT_DIR

Killed, it goes on from where it was when called again with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from pyqrt import ModelError
from pyqrt.progress import progress_bars
from pyqrt.train.finetune import finetune
from pyqrt.train.loop import Options


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="Hugging Face checkpoint folder")
    parser.add_argument(
        "--task", required=True, help="sst2, cola, mrpc, rte, qnli, mnli, qqp, stsb or conll2003"
    )
    parser.add_argument("--data", type=Path, required=True, help="the task's training file (.tsv)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--limit", type=int, help="use so many examples only, drawn with the seed")
    parser.add_argument("--max-length", type=int, default=128, help="tokens; longer texts are cut")
    parser.add_argument("--dropout", type=float, default=0.1, help="rate; 0: none")
    parser.add_argument(
        "--freeze-embeddings", action="store_true", help="leave the embedding tables as they are"
    )
    parser.add_argument("--bfloat16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="default: torch's")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    try:
        options = Options(epochs=arguments.epochs, learning_rate=arguments.learning_rate, seed=arguments.seed)
        with progress_bars() as progress:
            report = finetune(
                arguments.checkpoint,
                arguments.task,
                arguments.data,
                arguments.output,
                options,
                batch_size=arguments.batch_size,
                limit=arguments.limit,
                max_length=arguments.max_length,
                dropout_rate=arguments.dropout,
                freeze_embeddings=arguments.freeze_embeddings,
                bfloat16=arguments.bfloat16,
                device=arguments.device,
                state=arguments.output / "training.state",
                progress=progress,
            )
    except (ModelError, OSError) as error:
        print(f"finetune: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
