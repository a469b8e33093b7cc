"""What a worker understands, as a number: a side of a live comparison is asked for it before anything is measured."""

from __future__ import annotations

PROTOCOL = 1  # one more whenever an action that live comparisons use changes
