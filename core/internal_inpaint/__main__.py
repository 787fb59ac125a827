"""``python -m internal_inpaint`` is ``internal-inpaint``."""

import sys

from internal_inpaint.cli import main

sys.exit(main())
