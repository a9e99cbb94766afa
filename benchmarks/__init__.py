"""Benchmarks of deferrous against stock Twisted, asyncio, PyPy, and what native code can do.

`python -m benchmarks` measures every row; `docs/performance.md` says what there is besides.
"""
