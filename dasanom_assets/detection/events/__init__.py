"""Windows that belong together: support from around, connected windows, events."""
