"""The command line: `lawm COMMAND ...` or `python -m lawm_core COMMAND ...`.

Usage errors, missing files and unknown names are reported before torch is imported.

Exit codes: 0 success; 2 usage; 3 a video cannot be used; 4 a model cannot be used; 5 disk or numerical failure (the
last checkpoint is kept); 130 interrupted by Ctrl-C; 141 the program that reads the output has closed it. Errors go to
stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from lawm_core.cli import data, evaluate, library, models, train, transfer
from lawm_core.cli.arguments import HelpfulParser
from lawm_core.types import CheckpointError, VideoError

USAGE, BAD_VIDEO, BAD_MODEL, FAILED, CLOSED_PIPE = 2, 3, 4, 5, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors are printed as one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 0
    options = parser.parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the program that reads the output, for example `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python prints an error on exit
        return CLOSED_PIPE
    except VideoError as error:
        return fail(error, BAD_VIDEO)
    except CheckpointError as error:
        return fail(error, BAD_MODEL)
    except (ValueError, FileNotFoundError) as error:
        return fail(error, USAGE)
    except (FloatingPointError, OSError) as error:
        return fail(error, FAILED)
    except KeyboardInterrupt:
        return 130
    return 0


def run() -> None:
    """Entry point of the console script `lawm`."""
    sys.exit(main())


def fail(error: Exception, code: int) -> int:
    """Print an error on one line and return the exit code."""
    print(f"lawm: {error}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = HelpfulParser(prog="lawm", description="Latent actions from one video, applied to another.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        return command

    for group in (transfer, library, models, train, data, evaluate):
        group.add_commands(add)
    return parser
