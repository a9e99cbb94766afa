"""Threads that all work on the same Deferreds, without the GIL.

    PYTHON_GIL=0 python -m tests.proofs.free_threads [SECONDS [PROGRAM ...]]

On an interpreter that has the GIL it runs, too, and finds less. Each program makes objects, has
some threads work on them, and then looks whether what has to hold does. It says how often each has
run.
"""
