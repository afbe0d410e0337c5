"""The `lawm` command line, one module per group of commands."""
