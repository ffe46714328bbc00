"""request -> variant -> policy -> answer -> validated decision -> event."""
