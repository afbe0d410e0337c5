"""Planning with the cross-entropy method, and the state of a rollout."""
