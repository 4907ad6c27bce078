"""`python -m sft_helpers.cli`."""

import sys

from sft_helpers.cli import main

sys.exit(main())
