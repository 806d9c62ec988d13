"""A trained checkpoint, trained on as integers for a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pyqrt
from pyqrt.data import calibration_texts
from pyqrt.distill.api import Training, distill_checkpoint, weights_of
from trained_checkpoints import MISSING, demo_checkpoint


@pytest.mark.skipif(demo_checkpoint() is None, reason=MISSING)
def test_a_shallow_student_of_a_real_teacher_in_integers(tmp_path: Path) -> None:
    teacher = demo_checkpoint()
    assert teacher is not None
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(calibration_texts()[:40]))
    near = {}
    for epochs in (0, 2):
        output = tmp_path / f"{epochs}.qrt"
        training = Training(epochs=0, integer_epochs=epochs, integer_learning_rate=1e-4, batch=8)
        report = distill_checkpoint(
            teacher, output, texts, layers=3, weights=weights_of("qat"), training=training, progress=False
        )
        near[epochs] = report["heldout"]["mean_cosine"]
        rows = pyqrt.load(output)(["A man plays the guitar.", "Somebody makes music."])
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    assert near[2] > near[0]
