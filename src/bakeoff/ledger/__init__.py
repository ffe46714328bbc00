"""What replay predicted beside what was measured on people, version by version."""
