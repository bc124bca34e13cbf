# Compare the strategies of a sweep: python scripts/compare.py outputs/<sweep>
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("compare"))
