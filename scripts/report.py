# Write the report of a sweep: python scripts/report.py outputs/<sweep>
import sys

from thawlab.report.report import main

if __name__ == "__main__":
    sys.exit(main())
