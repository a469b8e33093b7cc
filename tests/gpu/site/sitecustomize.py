"""Python imports this at its start where the folder is on PYTHONPATH: it shows the process a GPU that is not there."""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import sys
from typing import Any

OPTIONS = os.environ.get("VLBENCH_FAKE_GPU")


class AfterTorch(importlib.abc.MetaPathFinder):
    """Replaces torch.cuda once PyTorch is imported; processes that never import it start as fast as before."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_replace(module: Any) -> None:
            execute(module)
            from tests.gpu import fake_cuda  # noqa: PLC0415  it imports torch

            fake_cuda.start(json.loads(OPTIONS or "{}"))

        spec.loader.exec_module = execute_and_replace  # type: ignore[method-assign]
        return spec


if OPTIONS:
    sys.path.insert(1, os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 3)))
    sys.meta_path.insert(0, AfterTorch())
    options = json.loads(OPTIONS)
    if options.get("nvml", True):
        from tests.gpu.fake_nvml import FakeGpu, FakeNvml

        known = {name: value for name, value in options.items() if name in FakeGpu.__dataclass_fields__}
        sys.modules["pynvml"] = FakeNvml(FakeGpu(**{"pids": []} | known))  # type: ignore[assignment]
    else:
        sys.modules["pynvml"] = None  # type: ignore[assignment]
