"""bakeoff: from an LLM feature's event log to a better model in front of users, with proof at every step."""
