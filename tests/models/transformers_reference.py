"""transformers as the reference: tiny checkpoints with random weights, and their outputs."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from pyqrt.nn import Encoder, Head

TOLERANCE = 1e-5

_AUTO_CLASS = {
    "embedding": transformers.AutoModel,
    "sequence_classification": transformers.AutoModelForSequenceClassification,
    "token_classification": transformers.AutoModelForTokenClassification,
    "question_answering": transformers.AutoModelForQuestionAnswering,
    "masked_lm": transformers.AutoModelForMaskedLM,
    "multiple_choice": transformers.AutoModelForMultipleChoice,
}


def save_tiny(hf: dict[str, Any], directory: Path) -> Path:
    """Write the checkpoint that `hf` (a family's tiny configuration) describes, every weight random."""
    options = {name: value for name, value in hf.items() if name not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(hf["model_type"], **options)
    torch.manual_seed(5)
    model = getattr(transformers, hf["architectures"][0])(config)
    for parameter in model.parameters():
        if not parameter.requires_grad:  # a constant: RoFormer's table of sines
            continue
        # large enough for every part to show in the output; gains stay around one
        is_gain = parameter.dim() == 1 and bool((parameter == 1).all())
        torch.nn.init.normal_(parameter, mean=float(is_gain), std=0.15)
    model.save_pretrained(directory)
    return directory


def random_batch(encoder: Encoder, lengths: list[int]) -> tuple[Tensor, list[int], Tensor]:
    """Packed ids, offsets and types for sequences of the given lengths."""
    generator = torch.Generator().manual_seed(sum(lengths))
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    config = encoder.config
    ids = torch.randint(0, config.vocab_size, (offsets[-1],), generator=generator)
    if config.position_offset:  # a text has no padding tokens, which would change the positions
        ids[ids == config.position_offset - 1] = config.vocab_size - 1
    types = torch.randint(0, max(1, config.type_vocab_size), (offsets[-1],), generator=generator)
    return ids, offsets, types


def load_reference(directory: Path, head: Head) -> PreTrainedModel:
    """The checkpoint in transformers, float32."""
    (architecture,) = json.loads((directory / "config.json").read_text())["architectures"]
    # the automatic classes know one head for each task
    special = ("ForPreTraining", "ForNextSentencePrediction", "Encoder")
    own = architecture.endswith(special) and (head.task != "embedding" or architecture.endswith("Encoder"))
    model_class = getattr(transformers, architecture) if own else _AUTO_CLASS[head.task]
    return model_class.from_pretrained(directory, dtype=torch.float32).eval()


@torch.no_grad()
def reference_output(
    model: PreTrainedModel, head: Head, ids: Tensor, offsets: list[int], types: Tensor | None
) -> Tensor:
    """What `Encoder` should return, from one sequence at a time without padding."""
    rows = []
    for start, end in pairwise(offsets):
        arguments = {"input_ids": ids[None, start:end], "attention_mask": torch.ones(1, end - start)}
        if types is not None and "token_type_ids" in inspect.signature(model.forward).parameters:
            arguments["token_type_ids"] = types[None, start:end]
        if types is None and head.feed_forward:  # BigBird else derives them from where the question ends
            arguments["token_type_ids"] = torch.zeros_like(arguments["input_ids"])
        if model.config.model_type == "longformer":
            # what it derives itself, but only of texts with three separators
            behind = (arguments["input_ids"] == model.config.sep_token_id).cumsum(dim=1) > 0
            if head.task == "question_answering":
                arguments["global_attention_mask"] = (~behind).long()
            elif head.task == "multiple_choice":
                arguments["global_attention_mask"] = (behind.cumsum(dim=1) > 2).long()
        if head.task == "multiple_choice":
            arguments = {name: value[None] for name, value in arguments.items()}
        if getattr(model.config, "attention_type", None) == "block_sparse":
            model.base_model.set_attention_type("block_sparse")  # which a short text changes for good
        output = model(**arguments)
        if head.task == "embedding" and "last_hidden_state" not in output:
            rows.append(output.pooler_output)
        elif head.task == "embedding":
            hidden = output.last_hidden_state[0]
            row = hidden.mean(0, keepdim=True) if head.pooling == "mean" else hidden[:1]
            rows.append(functional.normalize(row) if head.normalize else row)
        elif head.task == "question_answering":
            rows.append(torch.stack([output.start_logits[0], output.end_logits[0]], dim=1))
        elif head.task == "token_classification":
            rows.append(output.logits[0].reshape(end - start, -1))
        elif head.task == "masked_lm":
            rows.append(output.logits[0])
        else:
            rows.append(output.logits)
    return torch.cat(rows)


@torch.no_grad()
def largest_difference(encoder: Encoder, directory: Path, *, lengths: list[int], with_types: bool) -> float:
    """Largest difference from transformers on a random batch, over the largest result if that is above 1."""
    ids, offsets, types = random_batch(encoder, lengths)
    used = types if with_types else None
    ours = encoder(ids, offsets, used)
    expected = reference_output(
        load_reference(directory, encoder.config.head), encoder.config.head, ids, offsets, used
    )
    assert ours.shape == expected.shape
    return float((ours - expected).abs().max() / expected.abs().max().clamp(min=1.0))
