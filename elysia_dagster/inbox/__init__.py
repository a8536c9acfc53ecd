"""The folder that producers drop changesets into: what lies there, whose turn it is, and what became of each file."""
