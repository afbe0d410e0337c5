"""Run the web page: `python -m app`."""

import sys

from app.options import check_early

check_early()  # before the import below, which takes seconds

from app.main import main  # noqa: E402

sys.exit(main())
