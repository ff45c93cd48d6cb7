"""Models of minutes: what a minute of a channel is like, against other times and channels."""
