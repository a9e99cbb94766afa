"""Show the counts of Twisted's own tests at the end of a pytest run."""


def pytest_terminal_summary(terminalreporter):
    verdicts = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in getattr(report, "user_properties", ())
        if name == "twisted_suite"
    ]
    if verdicts:
        terminalreporter.section("Twisted's own tests on deferrous")
        for verdict in verdicts:
            terminalreporter.write_line(verdict)
