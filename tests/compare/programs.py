"""The programs whose suites are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TWISTED = "26.10.0"


@dataclass(frozen=True)
class Program:
    """A program as the package index has it, and where its tests are.

    Its tests are in what it installs, or else in its source distribution: then `files` says what
    of that goes into the folder that a test module runs in.
    """

    name: str
    version: str
    #: Where the test modules are, beneath site-packages or the source distribution.
    tests: Sequence[str]
    runner: str = "trial"
    extras: str = ""
    twisted: str = TWISTED
    #: What is installed with it.
    requirements: Sequence[str] = ()
    files: Sequence[str] = ()
    #: For pytest.
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Test modules that are no use: on Twisted itself they hang.
    broken: Sequence[str] = ()
    #: Patterns of the modules that `--quick` leaves out, for the time they take.
    slow: Sequence[str] = ()
    #: How long a module of tests may take.
    seconds: float = 900.0

    @property
    def requirement(self) -> str:
        extras = f"[{self.extras}]" if self.extras else ""
        return f"{self.name}{extras}=={self.version}"


_ALL = (
    Program(
        "twisted",
        TWISTED,
        ("twisted/**/test_*.py",),
        extras="all-non-platform",
        requirements=("python-subunit==1.4.4",),
        slow=(
            "twisted.conch.test.test_[ckert]*",
            "twisted.internet.test.test_process",
            "twisted.test.test_process",
            "twisted.test.test_stdio",
        ),
    ),
    Program(
        "scrapy",
        "2.19.0",
        ("tests/test_*.py", "tests/test_*/__init__.py"),
        runner="pytest",
        requirements=(
            "pytest==9.1.1",
            "pytest-twisted==1.14.3",
            "pytest-timeout",
            "pexpect>=4.8",
            "psutil",
            "pyftpdlib>=2.0.1",
            "pygments",
            "sybil",
            "testfixtures",
            "attrs",
            "Pillow",
            f"Twisted[http2]=={TWISTED}",
        ),
        files=("tests", "conftest.py", "pyproject.toml", "docs"),
        arguments=("-m", "not requires_internet"),
        # They start a Python for nearly each test.
        slow=("tests/test_command_*.py", "tests/test_crawler_subprocess.py"),
    ),
    Program(
        "treq",
        "26.7.0",
        ("treq/**/test_*.py",),
        extras="dev",
    ),
    Program(
        "klein",
        "24.8.0",
        ("klein/**/test_*.py",),
        requirements=("treq==26.7.0", "hypothesis", "idna", "mock"),
    ),
    Program(
        "matrix-synapse",
        "1.163.2",
        (
            "tests/util/**/test_*.py",
            "tests/handlers/**/test_*.py",
            "tests/storage/**/test_*.py",
            "tests/http/**/test_*.py",
            "tests/federation/**/test_*.py",
            "tests/replication/**/test_*.py",
            "tests/rest/**/test_*.py",
            "tests/test_*.py",
        ),
        extras="test,jwt,oidc,url-preview,cache-memory,redis",
        files=("tests", "docs", "pyproject.toml"),
    ),
    Program(
        "buildbot",
        "4.3.0",
        # Its source distribution has about a third of its tests, and its wheel has fewer.
        ("buildbot/test/**/test_*.py",),
        extras="tls",
        files=("buildbot",),
        # Its tests take any warning of a deprecation for an error: these are of its time.
        twisted="25.5.0",
        requirements=(
            "alembic<1.16",
            "buildbot-worker==4.3.0",
            "treq==26.7.0",
            "txrequests",
            "pypugjs",
            "boto3",
            "moto",
            "Markdown>=3.0.0",
            "parameterized",
        ),
    ),
    Program(
        "autobahn",
        "26.10.2",
        ("autobahn/**/test_*.py",),
        extras="twisted,encryption,serialization",
        requirements=("pytest",),
        environment={"USE_TWISTED": "1"},
    ),
    Program(
        "txtorcon",
        "26.6.0",
        ("test/test_*.py",),
        requirements=("mock",),
        files=("test",),
    ),
    Program(
        "magic-wormhole",
        "0.24.0",
        ("wormhole/test/**/test_*.py",),
        runner="pytest",
        extras="dev,dilate",
    ),
    Program(
        "ldaptor",
        "21.2.0",
        ("ldaptor/test/test_*.py",),
        # It makes folders without end.
        broken=("ldaptor.test.test_config",),
    ),
    Program("foolscap", "24.9.0", ("foolscap/test/test_*.py",), extras="dev"),
    Program("tubes", "0.2.1", ("tubes/test/test_*.py",)),
)

PROGRAMS = {program.name: program for program in _ALL}
#: Under these, too.
PROGRAMS["synapse"] = PROGRAMS["matrix-synapse"]
PROGRAMS["wormhole"] = PROGRAMS["magic-wormhole"]
