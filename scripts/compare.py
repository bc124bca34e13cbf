# Compare the strategies of a sweep: python scripts/compare.py outputs/<sweep>
import sys

from thawlab.entry import compare

if __name__ == "__main__":
    sys.exit(compare())
