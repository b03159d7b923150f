"""The tests: a file for each module, then folders for whole programs, faults and measurements."""
