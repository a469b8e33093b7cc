"""What is measured of a built model: counts, latency, memory, and the machine it ran on."""
