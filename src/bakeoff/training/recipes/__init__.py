"""Ways to train, one file each; self-contained and meant to be copied."""
