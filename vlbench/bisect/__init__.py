"""The commit since which something is slower, by live comparisons with the last that was known to be good."""
