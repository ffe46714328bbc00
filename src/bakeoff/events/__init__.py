"""What happened: decisions of policies and what people did with them, append-only."""
