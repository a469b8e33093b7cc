"""Whether one set of results is slower than another: effects with exact intervals, verdicts, and how they are told."""
