"""Scores of model files on labelled data, beside the float checkpoint. Needs `pip install 'pyqrt[eval]'`."""

from pyqrt.eval.api import Evaluation, Score, evaluate
from pyqrt.eval.bootstrap import Interval
from pyqrt.eval.tasks import tasks

__all__ = ["Evaluation", "Interval", "Score", "evaluate", "tasks"]
