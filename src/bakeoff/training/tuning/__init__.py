"""Hyperparameters: the search, and what it found for later runs."""
