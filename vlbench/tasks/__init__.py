"""What models are asked, and what counts as right: data sets in their official layouts, metrics, baselines."""
