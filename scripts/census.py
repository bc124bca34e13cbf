"""Check that every architecture of timm splits into stages as promised: python scripts/census.py [--jobs 2] [names]."""

import sys

from thawlab.entry import census

if __name__ == "__main__":
    sys.exit(census())
