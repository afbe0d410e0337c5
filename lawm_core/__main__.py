"""python -m lawm_core"""

import sys

from lawm_core.cli import main

sys.exit(main())
