"""What a model answers about a data set, from its files to its scores."""
