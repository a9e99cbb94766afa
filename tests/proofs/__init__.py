"""Proofs that nothing a program does breaks what it uses: each a command, and a short form of it.

    make proofs                                the short form of some, a few minutes
    python -m tests.proofs.memory --help       one of them, and its long form

What each proves is said in docs/proofs.md.
"""
