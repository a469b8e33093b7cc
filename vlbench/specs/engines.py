"""Which library runs the layers of a detector, and whether it is here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from vlbench.errors import InputError

Engine = Literal["torchvision", "detectron2"]

INSTALLATION = "https://detectron2.readthedocs.io/tutorials/install.html"


def check_engine(engine: Engine, name: str) -> None:
    """Raises InputError, for the model of this name, where the engine is not installed."""
    if engine == "detectron2" and find_spec("detectron2") is None:
        raise cannot_import(f"{name}: ", "No module named 'detectron2'")


def cannot_import(where: str, why: str) -> InputError:
    """What to say where Detectron2 cannot be imported."""
    return InputError(
        f"{where}the detector's engine is detectron2, which cannot be imported ({why}); {INSTALLATION} tells how to "
        "install it, and the engine torchvision does without"
    )
