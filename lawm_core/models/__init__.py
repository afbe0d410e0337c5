"""Neural networks, mostly one per file, each with its config class above it."""
