"""OpenVINO: int8 by NNCF, calibrated on the text that pyqrt is calibrated on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pyqrt.tradeoff.systems.base import Job, Rectangle, RectangleSystem, System, rectangle

CALIBRATION = 128  # sequences


class OpenVinoModel(RectangleSystem):
    """A compiled model on the CPU; what is not int8 is computed in float32."""

    def files(self) -> list[Path]:
        """Graph and weights."""
        return [self.job.home / "int8.xml", self.job.home / "int8.bin"]

    def prepare(self) -> None:
        """Converts the float module, and quantizes weights and activations by NNCF's transformer preset."""
        if all(path.exists() for path in self.files()):
            return
        import nncf
        import openvino

        from pyqrt.tradeoff.systems.torch_model import example_inputs, float_model

        model = float_model(self.job)
        inputs = example_inputs(model)
        shapes = {name: ([-1, -1], openvino.Type.i64) for name in inputs}
        converted = openvino.convert_model(model, example_input=inputs, input=shapes)
        batches = [{name: batch[name] for name in inputs} for batch in _calibration(self.job)]
        quantized = nncf.quantize(
            converted, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches)
        )
        with tempfile.TemporaryDirectory(dir=self.job.home) as work:
            openvino.save_model(quantized, str(Path(work, "int8.xml")), compress_to_fp16=False)
            for path in reversed(self.files()):
                Path(work, path.name).rename(path)

    def load(self) -> None:
        """Compiles the model for latency."""
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": self.job.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(str(self.files()[0]), "CPU", settings)
        self._names = [item.get_any_name() for item in compiled.inputs]
        self._request = compiled.create_infer_request()

    def call(self, arranged: Rectangle) -> Any:
        """As `RectangleSystem.call`."""
        return self._request.infer({name: arranged[name] for name in self._names}, share_inputs=True)[0]


def _calibration(job: Job) -> list[Rectangle]:
    from pyqrt.quantize.api import seen_and_unseen
    from pyqrt.quantize.checkpoint import load_checkpoint

    assert job.checkpoint is not None
    encoder, checkpoint = load_checkpoint(job.checkpoint)
    seen, _ = seen_and_unseen(encoder, checkpoint, job.calibration, 0)
    return [rectangle([(item.ids, item.types)]) for item in seen[:CALIBRATION]]


def system(job: Job) -> System:
    """The system of a job."""
    return OpenVinoModel(job)
