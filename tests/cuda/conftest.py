from cuda.targets import target

__all__ = ["target"]
