"""Fuzzing: `make fuzz`. What is fuzzed and what must hold is in ``targets.py``; its short form runs in the suite."""
