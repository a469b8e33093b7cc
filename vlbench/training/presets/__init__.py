"""Sizes that every architecture of one comparison is given: what is left of a model is how it sees."""

from vlbench.training.presets.preset import PRESETS, Preset, read_preset, sized

__all__ = ["PRESETS", "Preset", "read_preset", "sized"]
