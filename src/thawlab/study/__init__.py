"""Studies: one command that searches rates, runs what they choose, and reports."""
