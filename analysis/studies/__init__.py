"""Studies of the literature, done again on networks of one's own."""
