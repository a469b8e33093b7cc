"""What a worker and those who ask it agree on.

A side of a live comparison is asked for its `PROTOCOL` before anything is measured.
"""

from __future__ import annotations

CACHE_MS = 100  # a shorter pass feels that something else had the caches before it; a longer one refills them
PROTOCOL = 1  # one more whenever an action that live comparisons use changes
