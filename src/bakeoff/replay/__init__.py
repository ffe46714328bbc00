"""What a policy would have done: one policy spec over held-out requests, deterministically."""
