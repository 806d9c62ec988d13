"""ONNX Runtime: the exported float graph with its fusions, and that graph dynamically quantized."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from pyqrt import _runtime
from pyqrt.tradeoff.systems.base import Job, Rectangle, RectangleSystem, System

OPSET = 17


class OnnxRuntimeModel(RectangleSystem):
    """A session on the CPU."""

    def files(self) -> list[Path]:
        """The graph."""
        return [self.job.home / f"{self.job.variant}.onnx"]

    def prepare(self) -> None:
        """Exports, fuses attention, norms and GELU, and for int8 quantizes weights per output channel."""
        floats, target = self.job.home / "fp32.onnx", self.files()[0]
        if not floats.exists():
            with tempfile.TemporaryDirectory(dir=self.job.home) as work:
                raw, fused = Path(work, "raw.onnx"), Path(work, "fused.onnx")
                _fuse(raw, fused, _export(self.job, raw))
                fused.rename(floats)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self.job.home) as work:
                quantized = Path(work, "int8.onnx")
                _quantize(floats, quantized)
                quantized.rename(target)

    def load(self) -> None:
        """Makes a session of the job's number of threads."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.job.threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(self.files()[0]), options, providers=["CPUExecutionProvider"]
        )
        self._names = [item.name for item in self._session.get_inputs()]

    def call(self, arranged: Rectangle) -> Any:
        """As `RectangleSystem.call`."""
        inputs = {name: arranged[name] for name in self._names}
        return self._session.run(None, inputs)[0]


def _export(job: Job, path: Path) -> tuple[int, int]:
    """Writes the float module as ONNX; (heads, hidden size), which the fusion asks for."""
    import torch

    from pyqrt.tradeoff.systems.torch_model import example_inputs, float_model

    model = float_model(job, attention="eager")  # the fusions know this graph
    inputs = example_inputs(model)
    axes: dict[str, dict[int, str]] = {name: {0: "sequences", 1: "tokens"} for name in inputs}
    axes["output"] = {0: "sequences"}
    if model.head.pooling is None:
        axes["output"][1] = "tokens"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["output"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    config: Any = model.model.config
    return config.num_attention_heads, config.hidden_size


def _fuse(source: Path, target: Path, sizes: tuple[int, int]) -> None:
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    heads, hidden = sizes
    fused = optimizer.optimize_model(
        str(source),
        model_type="bert",
        num_heads=heads,
        hidden_size=hidden,
        opt_level=0,
        optimization_options=FusionOptions("bert"),
    )
    fused.save_model_to_file(str(target))


def _saturates() -> bool:
    """Do this CPU's int8 kernels add pairs of products in 16 bits? x86-64 without VNNI does."""
    supported = {isa["name"] for isa in _runtime.isas() if isa["supported"]}
    return "avx2" in supported and not any("vnni" in name for name in supported)


def _quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(target),
        per_channel=True,
        weight_type=QuantType.QInt8,
        reduce_range=_saturates(),  # as its documentation says, for such CPUs: weights of 7 bits
        op_types_to_quantize=["MatMul", "Gemm", "Attention"],
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1},
    )


def system(job: Job) -> System:
    """The system of a job."""
    return OnnxRuntimeModel(job)
