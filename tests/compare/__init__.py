"""Test suites of Twisted and of programs that use it, on Twisted and on deferrous.

python -m tests.compare --help
"""
