"""Simulated robots and the episode recorder."""
