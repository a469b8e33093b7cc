"""The architectures: parts, and `build(spec)` that puts them together."""
