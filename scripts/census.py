"""Check that every architecture of timm splits into stages as promised: python scripts/census.py [--jobs 2] [names]."""

import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("census"))
