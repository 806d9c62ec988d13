#!/usr/bin/env python3
"""Time BERT-base on a GPU beside PyTorch on the same GPU, in one run.

    python tools/gpu_benchmark.py [--shapes 1x128 mixed ...] [--compile bf16 ...] [--repeats 30] [--json FILE]

pyqrt runs a program of BERT-base's shape with random weights, which take as long as trained ones; PyTorch
runs transformers' BertModel with scaled dot-product attention, in float32, tf32, float16 and bfloat16, each
as CUDA graphs, and the types that --compile names also compiled (half a minute for each shape). Batches
1, 8 and 32 of 64 to 512 tokens, and 32 texts of mixed lengths, which PyTorch has to pad.

Times are the device's own, by CUDA events, without copies of outputs: the median of `--repeats` runs,
taken in turns. The fraction of peak counts multiply-accumulates against a measured rate: torch._int_mm of
8192 cubed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np

torch: Any = importlib.import_module("torch")  # its types say too little of CUDA

HIDDEN, INNER = 768, 3072
MIXED = [int(n) for n in np.random.default_rng(0).gamma(2.0, 24.0, 32).clip(4, 384)]
SHAPES = {
    f"{batch}x{length}": [length] * batch for batch in (1, 8, 32) for length in (64, 128, 256, 384, 512)
}
SHAPES["mixed"] = MIXED

KINDS = ("fp32", "tf32", "fp16", "bf16")

Timed = Callable[[], float]  # runs once, returns milliseconds


def macs(lengths: list[int], layers: int) -> int:
    """Multiply-accumulates of the encoder's products, attention's second plane not counted."""
    projections = sum(lengths) * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    return layers * (projections + sum(2 * n * n * HIDDEN for n in lengths))


def pyqrt_model(layers: int) -> Any:
    """A session over a program of BERT-base's shape."""
    from pyqrt.lower import lower
    from pyqrt.models import family
    from pyqrt.nn import Encoder
    from pyqrt.runtime.devices import find_device
    from tiny_encoders import plain_scales

    bert = family("bert")
    config = {**bert.tiny()[0], "hidden_size": HIDDEN, "num_hidden_layers": layers, "vocab_size": 30522}
    config |= {"num_attention_heads": 12, "intermediate_size": INNER, "max_position_embeddings": 512}
    encoder = Encoder(bert.configure(config, None)).eval()
    program, tensors = lower(encoder, plain_scales(encoder))
    device = find_device("cuda")
    return device.new_session(device.new_model(program.to_dict(), tensors))


def time_pyqrt(session: Any, lengths: list[int]) -> Timed:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 30000, sum(lengths)).astype(np.int32)
    offsets = np.cumsum([0, *lengths]).astype(np.int32)

    def run() -> float:
        session.run(ids, offsets)
        return float(session.device_ms)

    return run


def time_torch(model: Any, lengths: list[int], compiled: bool) -> Timed:
    width = max(lengths)
    ids = torch.randint(0, 30000, (len(lengths), width), device="cuda")
    mask = None
    if min(lengths) < width:
        mask = (torch.arange(width, device="cuda") < torch.tensor(lengths, device="cuda")[:, None]).long()

    def forward() -> Any:
        return model(input_ids=ids, attention_mask=mask).last_hidden_state

    launch: Callable[[], Any]
    with torch.inference_mode():
        if compiled:
            launch = torch.compile(forward, mode="reduce-overhead", dynamic=False)
            for _ in range(3):
                launch()
        else:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    forward()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                forward()
            launch = graph.replay

    def run() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.inference_mode():
            begin.record()
            launch()
            end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return run


def torch_models(layers: int) -> dict[str, Any]:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.BertConfig(num_hidden_layers=layers, attn_implementation="sdpa")
    float32 = transformers.BertModel(config, add_pooling_layer=False).eval().cuda()
    halves = {
        name: transformers.BertModel(config, add_pooling_layer=False).eval().to("cuda", dtype)
        for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16))
    }
    return {"fp32": float32, "tf32": float32, **halves}


def int8_rate() -> float:
    """Multiply-accumulates a second of a large int8 product."""
    n = 8192
    a, b = (torch.randint(-127, 128, (n, n), device="cuda", dtype=torch.int8) for _ in range(2))
    times = []
    for _ in range(12):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch._int_mm(a, b.t())
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return float(n**3 / statistics.median(times) * 1e3)


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write every median here")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--compile", nargs="+", choices=KINDS, default=[], help="PyTorch compiled, too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch sees no GPU; run this on a machine that has one", file=sys.stderr)
        return 2
    rate = int8_rate()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; int8 {rate / 1e12:.0f} TMAC/s measured"
    )
    session, peers = pyqrt_model(options.layers), torch_models(options.layers)
    rows = []
    for name in options.shapes:
        lengths = SHAPES[name]
        timed: dict[str, Timed] = {"pyqrt": time_pyqrt(session, lengths)}
        for kind, model in peers.items():
            torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
            timed[kind] = time_torch(model, lengths, compiled=False)
            if kind in options.compile:
                timed[f"{kind} compiled"] = time_torch(model, lengths, compiled=True)
        samples: dict[str, list[float]] = {kind: [] for kind in timed}
        for _ in range(options.repeats):
            for kind, run in timed.items():
                samples[kind].append(run())
        medians = {kind: statistics.median(values[2:]) for kind, values in samples.items()}
        fraction = macs(lengths, options.layers) / (medians["pyqrt"] / 1e3) / rate
        rows.append({"shape": name, "lengths": lengths, "ms": medians, "of_int8_rate": fraction})
        half = min(value for kind, value in medians.items() if kind.startswith(("fp16", "bf16")))
        print(
            f"{name:>6}: "
            + "  ".join(f"{kind} {value:.3f}" for kind, value in medians.items())
            + f" ms; fp32 / pyqrt {medians['fp32'] / medians['pyqrt']:.2f},"
            + f" best half / pyqrt {half / medians['pyqrt']:.2f}, {fraction:.0%} of the int8 rate",
            flush=True,
        )
    if options.json is not None:
        machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "int8_macs": rate}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
