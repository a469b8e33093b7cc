"""Ablation suites: their arms are trained and compared with a reference arm and with the papers."""
