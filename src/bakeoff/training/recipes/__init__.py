"""Ways to train, one file each, on shared parts (`choice_trainer`, `lora`, `rows`); meant to be read and copied."""
