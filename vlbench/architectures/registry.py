"""The class that implements each kind of part, as "module:Class".

A spec names its class, so that a new kind changes nothing here. A module is imported when one of its kinds is first
built: torchvision takes as long to import as PyTorch, transformers longer, and few have Detectron2.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from vlbench.errors import InputError
from vlbench.specs.base import specs_by_kind
from vlbench.specs.heads import HeadPart
from vlbench.specs.interaction import InteractionPart
from vlbench.specs.text import TextPart
from vlbench.specs.visual import VisualPart

REGISTRY: dict[str, str] = {
    **{
        kind: part.implementation
        for parts in (TextPart, VisualPart, InteractionPart, HeadPart)
        for kind, part in specs_by_kind(parts).items()
    },
    "detectron2": "vlbench.architectures.detectron2:Detectron2Embedder",
    "transformers": "vlbench.architectures.huggingface:HuggingFaceModel",
    "module": "vlbench.architectures.module_model:ModuleModel",
}


def implementation(kind: str) -> Any:
    """The class of a kind. Raises InputError, with the known kinds, where it is unknown."""
    if kind not in REGISTRY:
        raise InputError(f"no part of kind {kind!r}; known: {', '.join(REGISTRY)}")
    return _imported(REGISTRY[kind])


def preload(kind: str) -> None:
    """Imports what `build` needs for a kind, or for a "module:Class", so that forked processes need not.

    What is unknown or cannot be imported is skipped: `build` reports it.
    """
    path = REGISTRY.get(kind, kind)
    if ":" in path:
        with suppress(ImportError, AttributeError):
            _imported(path)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
