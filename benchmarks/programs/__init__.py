"""What deferrous does for whole programs: `python -m benchmarks.programs`."""
