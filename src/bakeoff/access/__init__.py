"""Who may call the HTTP API: keys, and what each role may do."""
