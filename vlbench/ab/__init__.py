"""Base against head, measured live in lockstep on one machine: the gate that may block a merge."""
