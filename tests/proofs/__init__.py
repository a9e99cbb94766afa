"""Proofs that nothing a program does breaks what it uses: each a command, and a short form of it.

    python -m tests.proofs                     the short form of all, a few minutes
    python -m tests.proofs.memory --help       one of them, and its long form

What each proves is said in docs/proofs.md.
"""
