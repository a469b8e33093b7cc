"""Whether this machine is fit to measure on, and what to change."""
