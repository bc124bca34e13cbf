"""`python -m thawlab`: the same as train.py, for an installed copy."""

import sys

from thawlab.entry import train

sys.exit(train())
