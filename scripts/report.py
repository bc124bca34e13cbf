# Write the report of a sweep: python scripts/report.py outputs/<sweep>
import sys

from thawlab.entry import report

if __name__ == "__main__":
    sys.exit(report())
