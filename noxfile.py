"""Sessions do nothing that cannot be typed by hand; CONTRIBUTING.md says how.

Versions are written once, in pyproject.toml: those of Python in the classifiers, the lowest wandb
among the dependencies.
"""

import re
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["lint", "typing", "tests"]
nox.options.default_venv_backend = "venv"

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
EXTRAS = PROJECT["optional-dependencies"]
READERS = ("polars", "pandas", "duckdb")
LOWEST_READERS = [one.replace(">=", "==") for name in READERS for one in EXTRAS[name]]
LOWEST_WANDB = re.findall(r"^wandb>=(.+)$", "\n".join(PROJECT["dependencies"]), re.MULTILINE)[0]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, and that the core imports nothing that touches the world."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types, and with two checkers those that users see and the examples have."""
    session.install("-e", ".[lint,test]")
    session.run("mypy")
    session.run("mypy", "--strict", "tests/typing/public_api.py")
    session.run("pyright", "tests/typing/public_api.py")
    examples = session.create_tmp()
    session.run("python", "-m", "tools.doc_examples", examples)
    session.run("mypy", "--strict", examples)
    session.run("pyright", examples)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests, properties with few examples."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def properties(session: nox.Session) -> None:
    """Run the laws with a thousand examples each."""
    session.install("-e", ".[test]")
    environment = {"HYPOTHESIS_PROFILE": "ci"}
    session.run(
        "pytest", "-n", "2", "--timeout", "0", "tests/property", *session.posargs, env=environment
    )


@nox.session
def crashes(session: nox.Session) -> None:
    """Let each kind of fault meet each operation of a sync on files, not one kind by turns."""
    session.install("-e", ".[test]")
    environment = {"HYPOTHESIS_PROFILE": "ci"}
    session.run("pytest", "-n", "2", "tests/crash", *session.posargs, env=environment)


@nox.session(python="3.12")
def fuzz(session: nox.Session) -> None:
    """Let atheris look for bytes that break a decoder; its wheels are for Linux, 3.11 to 3.13."""
    session.install("-e", ".[test]", "atheris>=3")
    corpus = session.create_tmp()
    flags = session.posargs or ["-max_total_time=240"]
    limits = ["-max_len=8192", "-timeout=30", f"-artifact_prefix={corpus}/found-"]
    session.run("python", "-m", "tests.fuzz.fuzz_decoders", *limits, *flags, corpus)


@nox.session
@nox.parametrize("wandb", [LOWEST_WANDB, "newest"])
def integration(session: nox.Session, wandb: str) -> None:
    """Run the tests that go through the real SDK, on the lowest and on the newest one."""
    session.install("-e", ".[test]")
    if wandb == "newest":
        session.install("--upgrade", "wandb")
    else:
        session.install(f"wandb=={wandb}")
    session.run("pytest", "-n", "2", "tests/integration", "tests/contract", *session.posargs)


@nox.session(python="3.11")
@nox.parametrize("readers", ["lowest", "newest"])
def frames(session: nox.Session, readers: str) -> None:
    """Run the tests of frames and tables on the lowest and the newest readers and Arrow."""
    session.install("-e", ".[test]")
    if readers == "newest":
        session.install("--upgrade", "polars", "pandas", "duckdb", "pyarrow", "numpy")
    else:
        session.install(*LOWEST_READERS, "pyarrow==17.0.0", "numpy==1.26.4")
    folders = ("tests/unit/shell/frames", "tests/property/shell/frames")
    store = "tests/property/shell/store"
    tables = (f"{store}/test_tables_laws.py", f"{store}/test_runs_parquet_laws.py")
    session.run("pytest", "-n", "2", *folders, *tables, *session.posargs)


@nox.session(python="3.12")
def duckdb_alone(session: nox.Session) -> None:
    """Read the demo as the README says, with `.[duckdb]` and nothing else."""
    session.install(".[duckdb]")
    checkout = Path.cwd()
    session.chdir(session.create_tmp())
    recording = f"replay:{checkout / 'fixtures/recorded/tiny-vision'}"
    arguments = ["demo-lab", "tiny-vision", "--name", "demo", "--mode", "history"]
    session.run("wandb-export", *arguments, "--source", recording)
    session.run("python", "-P", f"{checkout}/tests/compatibility/read_with_duckdb.py")


@nox.session(python="3.11")
def scale(session: nox.Session) -> None:
    """Let DuckDB, Dask and Spark query 20,000,000 rows; Spark needs Java 17."""
    session.install("-e", ".[test,bench,dask]", "pyspark>=4")
    folder = session.create_tmp()
    rows = session.posargs or []
    session.run("python", "-m", "benchmarks.many_rows", f"{folder}/data/many", *rows)
    session.run("python", "-m", "benchmarks.at_scale", folder, *rows)


@nox.session
def readers(session: nox.Session) -> None:
    """Read the Parquet files of exports with the newest DuckDB, Polars, pandas and Dask."""
    session.install("-e", ".[test]")
    session.install("--upgrade", "duckdb", "polars", "pandas", "pyarrow", "dask[dataframe]")
    session.run("python", "-c", "import dask.dataframe")  # without it its tests are skipped
    documents = "tests/unit/test_documented_commands.py"
    session.run("pytest", "tests/readers", documents, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Demand that every branch of the core is run by a test."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "--cov", "--cov-report=", *session.posargs)
    session.run("coverage", "report", "--include", "*/core/*", "--fail-under", "100")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, install it alone, and ask the command for help."""
    session.install("build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", folder)
    session.run("bash", "-c", f"pip install {folder}/*.whl", external=True)
    session.run("wandb-export", "--help")
    session.run("wandb-export", "--version")


@nox.session(python="3.12")
def compatibility(session: nox.Session) -> None:
    """Load an export of ours with the loaders of dr-wandb 3.0.3, the tool by another author."""
    folder = session.create_tmp()
    session.install(".")
    recording = "replay:fixtures/recorded/tiny-vision"
    arguments = ["demo-lab", "tiny-vision", "--name", "demo", "--mode", "history"]
    session.run("wandb-export", *arguments, "--source", recording, "--data-root", folder)
    session.install("--force-reinstall", "dr-wandb==3.0.3")
    session.run("python", "-P", "tests/compatibility/read_with_3_0_3.py", folder, "demo")


@nox.session(python="3.12")
def benchmarks(session: nox.Session) -> None:
    """Measure speed and memory beside dr-wandb 3.0.3; flags of `python -m benchmarks` go along."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)
