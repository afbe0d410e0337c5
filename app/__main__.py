"""`python -m app`."""

import sys

from app.options import answer_early

answer_early()  # before the imports that take seconds

from app.main import main  # noqa: E402

sys.exit(main())
