"""Ray clusters: joining one, what its nodes can give, whether they see the store, and jobs sent to it."""
