"""What every visual embedder can be asked, whatever it sees with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from vlbench.architectures.tokens import Images, RegionFeatures


class VisualEmbedder(nn.Module):
    """Images to tokens.

    `load` says what the last forward pass carried through a detector, for the least loaded image of the batch; empty
    where there is none.
    """

    load: Mapping[str, int] = {}

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """What a forward pass must carry at the least for its latency to mean anything."""
        return {}

    def traits(self) -> tuple[str, ...]:
        """What no tensor tells of how its weights have to be used; a file that keeps them keeps this beside them."""
        return ()

    def take_on(self, traits: tuple[str, ...]) -> None:
        """What `traits` gave of an embedder whose weights this one has."""

    def charged_by_table6(self) -> tuple[Sequence[nn.Module], nn.Conv2d | nn.Linear] | None:
        """The modules that ViLT's Table 6 charges as vision, and the projection; None where it has no such embedder."""
        return None
