"""The effect of deferrous on whole programs: `python -m benchmarks.programs`."""
