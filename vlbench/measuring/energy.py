"""Energy of what runs between two moments: of a GPU by NVML, of a processor by RAPL where Linux lets it be read."""

from __future__ import annotations

import time
from pathlib import Path

from vlbench.measuring.nvml import Gpu
from vlbench.measuring.os_counters import ROOT, first_line, number

LEAST_SECONDS = 0.5  # NVML's counter rises every 0.02 to 0.1 s


class EnergyMeter:
    """Joules since `start`.

    Args:
        gpu: whose energy is read; None for the packages of the processor.
        root: the folder that contains `sys`; another one in tests.
    """

    def __init__(self, gpu: Gpu | None, root: Path = ROOT) -> None:
        self._gpu, self._root = gpu, root
        self.start()

    def start(self) -> None:
        self._begun, self._before = time.monotonic(), self._read()

    def spent(self) -> float | None:
        """Joules; None if no counter can be read, or after less than half a second."""
        seconds, after = time.monotonic() - self._begun, self._read()
        if seconds < LEAST_SECONDS or not after or after.keys() != self._before.keys():
            return None
        return sum((now - self._before[name][0]) % limit for name, (now, limit) in after.items())

    def _read(self) -> dict[str, tuple[float, float]]:
        """The joules of each counter, and those at which it starts again from zero."""
        if self._gpu is not None:
            joules = self._gpu.joules()
            return {} if joules is None else {"gpu": (joules, float("inf"))}
        packages = {}
        for folder in sorted((self._root / "sys/class/powercap").glob("intel-rapl:*")):  # AMD's processors, too
            # newer kernels let only root read the energy
            energy, limit = (number(first_line(folder / file), 1e6) for file in ("energy_uj", "max_energy_range_uj"))
            if (first_line(folder / "name") or "").startswith("package") and energy is not None and limit:
                packages[folder.name] = (energy, limit)
        return packages
