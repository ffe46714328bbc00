"""What is learnt from: immutable folders of examples, split by unit, known by the digest of their content."""
