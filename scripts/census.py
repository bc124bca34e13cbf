"""Check that every architecture of timm splits into stages as promised: python scripts/census.py [--jobs 2] [names]."""

import sys

from thawlab.census import main

if __name__ == "__main__":
    sys.exit(main())
