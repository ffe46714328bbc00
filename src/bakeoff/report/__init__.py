"""One page that a person reads before signing: what a gate found, drawn, with examples, costs and lineage."""
