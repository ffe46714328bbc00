"""What a person allowed: numbered policy versions and the signatures that make them eligible for traffic."""
