"""Transfers, action scripts and replay."""
