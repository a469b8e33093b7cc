"""Two versions measured live in lockstep on one machine (the gate that may block a merge), and bisection."""
