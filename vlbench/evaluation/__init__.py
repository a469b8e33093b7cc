"""Evaluates models on data sets: preprocessing, prediction, and scores."""
