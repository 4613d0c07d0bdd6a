"""``python -m wirings.cli`` is ``wirings``."""

import sys

from wirings.cli.app import main

sys.exit(main())
