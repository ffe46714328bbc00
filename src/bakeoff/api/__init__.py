"""The HTTP API: an edge over `serving` and `lifecycle`. The only room that may be async."""
