"""``python -m casnkit`` is ``casnkit``."""

import sys

from .cli import main

sys.exit(main())
