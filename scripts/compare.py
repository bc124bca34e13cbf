# Compare the strategies of a sweep: python scripts/compare.py outputs/<sweep>
import sys

from thawlab.report.compare import main

if __name__ == "__main__":
    sys.exit(main())
