from gpu.targets import target

__all__ = ["target"]
