"""Records in, tables and pages out. Needs neither torch nor Lightning: a report can be made where nothing can train."""
