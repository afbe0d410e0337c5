"""Run the command line with `python -m lawm_core`."""

from lawm_core.cli.main import run

run()
