"""Energy, where the system lets it be read: RAPL's counters of the CPU packages, NVML's of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
Meter = Callable[[], float]  # joules since the meter was made


def find_meter(device: str = "cpu", powercap: Path = POWERCAP) -> Meter | None:
    """The meter of a device, or None where nothing can be read.

    "cpu": the packages' RAPL counters, which Linux shows to root alone unless told otherwise. They count
    whatever else the machine does. "cuda:N": that GPU's NVML counter, by the package nvidia-ml-py.
    """
    if device == "cpu":
        return _rapl(powercap)
    return _nvml(int(device.partition(":")[2] or 0))


def _rapl(powercap: Path) -> Meter | None:
    zones = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            if not (zone / "name").read_text().startswith("package"):
                continue  # a part of a package
            wraps_at = int((zone / "max_energy_range_uj").read_text())
            zones.append(_Counter(zone / "energy_uj", wraps_at))
        except (OSError, ValueError):
            return None
    if not zones:
        return None
    return lambda: sum(zone.joules() for zone in zones)


class _Counter:
    """A counter of microjoules that starts again at 0 above `wraps_at`. Raises OSError if unreadable."""

    def __init__(self, path: Path, wraps_at: int) -> None:
        self._path, self._range = path, wraps_at + 1
        self._last, self._total = self._read(), 0

    def _read(self) -> int:
        return int(self._path.read_text())

    def joules(self) -> float:
        now = self._read()
        self._total += (now - self._last) % self._range
        self._last = now
        return self._total * 1e-6


def _nvml(number: int) -> Meter | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        first = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - first) * 1e-3
