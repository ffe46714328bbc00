"""The conformance kit: runs a task over real rows and says what is wrong. See `check.check`."""
