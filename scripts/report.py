# Write the report of a sweep: python scripts/report.py outputs/<sweep>
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("report"))
