"""Accuracy against latency of models, recipes and other runtimes, measured in turns: `pyqrt tradeoff`."""
