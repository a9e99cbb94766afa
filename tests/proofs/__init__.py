"""Long stress tests: each is a command, and has a short form that runs with the other tests.

    make proofs                                the short form of some, a few minutes
    python -m tests.proofs.memory --help       one of them, and its long form

What each proves is said in docs/proofs.md.
"""
