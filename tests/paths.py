"""Where the checkout is, and the reference data beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
REFERENCE_DATA = ROOT.parent / "shared" / "data"
