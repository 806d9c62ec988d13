"""PyTorch with the model of transformers: float32, float16 on a GPU, or dynamically quantized int8.

Other peers convert from the float module that is made here.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyqrt.errors import ModelError
from pyqrt.nn.config import Head
from pyqrt.quantize.checkpoint import load_origin
from pyqrt.quantize.checkpoint.files import Directory
from pyqrt.quantize.checkpoint.sentence_transformers import read_sentence_transformer
from pyqrt.runtime import format as model_format
from pyqrt.tradeoff.systems.base import Job, Rectangle, RectangleSystem, System

if TYPE_CHECKING:
    from pyqrt.nn import Encoder

_CLASSES = {
    "embedding": "AutoModel",
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "masked_lm": "AutoModelForMaskedLM",
    "multiple_choice": "AutoModelForMultipleChoice",
}


class FloatModel(nn.Module):
    """A transformers model with what the task adds: rectangles of ids, mask and types in, one tensor out."""

    def __init__(self, model: nn.Module, head: Head, *, typed: bool) -> None:
        super().__init__()
        self.model, self.head, self.typed = model, head, typed

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """int64 [sequences, tokens] each -> [sequences, width] or [sequences, tokens, width]."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.typed and token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        output = self.model(**inputs)
        if self.head.task == "question_answering":
            return torch.stack([output.start_logits, output.end_logits], dim=-1)
        if self.head.task != "embedding":
            logits: Tensor = output.logits
            return logits
        return self._pool(output.last_hidden_state, attention_mask)

    def _pool(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(x.dtype).unsqueeze(-1)
        if self.head.pooling == "mean":
            x = (x * mask).sum(1) / mask.sum(1)
        elif self.head.pooling == "first":
            x = x[:, 0]
        else:
            x = (x + (mask - 1.0) * 1e4).amax(1)
        return nn.functional.normalize(x, dim=-1) if self.head.normalize else x


def transformers_folder(checkpoint: str | Path) -> Path:
    """Where config.json and weights lie in a checkpoint directory."""
    found = read_sentence_transformer(Directory(Path(checkpoint)))
    return found.transformer.path if found else Path(checkpoint)


def read_encoder(job: Job) -> Encoder:
    """pyqrt's float encoder of the job's checkpoint and task, which says what the head is."""
    assert job.checkpoint is not None
    file = model_format.read(job.model)
    encoder, _ = load_origin(job.checkpoint, file.task.kind, file.program)
    return encoder


def float_model(job: Job, *, attention: str = "sdpa") -> FloatModel:
    """The float module of the job's checkpoint.

    attention: of transformers' implementations. Raises ModelError for weights that transformers does not
    find in the checkpoint, whose model would be random.
    """
    transformers: Any = importlib.import_module("transformers")
    assert job.checkpoint is not None
    transformers.logging.set_verbosity_error()
    config = read_encoder(job).config
    head = config.head
    folder = transformers_folder(job.checkpoint)
    auto = getattr(transformers, _CLASSES[head.task])
    options = {"attn_implementation": attention, "output_loading_info": True, "local_files_only": True}
    model, info = auto.from_pretrained(folder, **options)
    missing = [name for name in info["missing_keys"] if head.task != "embedding" or "pooler" not in name]
    if missing:
        raise ModelError(f"transformers finds no {', '.join(missing)} in {folder}")
    return FloatModel(model.eval(), head, typed=config.type_vocab_size > 1).eval()


def example_inputs(model: FloatModel) -> dict[str, Tensor]:
    """Two short sequences, one of them padded, for tracing."""
    mask = torch.ones(2, 16, dtype=torch.int64)
    mask[1, 10:] = 0
    inputs = {"input_ids": torch.ones(2, 16, dtype=torch.int64), "attention_mask": mask}
    if model.typed:
        inputs["token_type_ids"] = torch.zeros(2, 16, dtype=torch.int64)
    return inputs


class TorchModel(RectangleSystem):
    """transformers' model, called without gradients."""

    def prepare(self) -> None:
        """Nothing: the checkpoint is what is loaded."""

    def files(self) -> list[Path]:
        """The checkpoint's weights; int8 are made of them while loading."""
        assert self.job.checkpoint is not None
        folder = transformers_folder(self.job.checkpoint)
        for pattern in ("*.safetensors", "pytorch_model*.bin"):
            if found := sorted(folder.glob(pattern)):
                return found
        return []

    def load(self) -> None:
        """Reads the weights; of the variant int8, quantizes every linear layer's per output channel."""
        torch.set_num_threads(self.job.threads)
        self._model: nn.Module = float_model(self.job)
        if self.job.variant == "int8":
            quantization: Any = importlib.import_module("torch.ao.quantization")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._model = quantization.quantize_dynamic(
                    self._model, {nn.Linear: quantization.per_channel_dynamic_qconfig}, dtype=torch.qint8
                )
        if self.job.variant == "fp16":
            self._model = self._model.half()
        self._model = self._model.to(self.job.device)

    def call(self, arranged: Rectangle) -> Any:
        """As `RectangleSystem.call`."""
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(array).to(self.job.device) for name, array in arranged.items()}
            return self._model(**inputs).float().cpu().numpy()


def system(job: Job) -> System:
    """The system of a job."""
    return TorchModel(job)
