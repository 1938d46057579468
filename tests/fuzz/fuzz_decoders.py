"""Let atheris look for bytes that break a decoder: `nox -s fuzz`, for four minutes by default.

python -m tests.fuzz.fuzz_decoders [libFuzzer's flags] [corpus]

The first byte of an input chooses the target, the rest is what it reads.
"""

import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dr_wandb"]):
    from tests.fuzz.targets import TARGETS, seeds


def read_any(content: bytes) -> None:
    if content:
        TARGETS[content[0] % len(TARGETS)](content[1:])


def main() -> None:
    warnings.simplefilter("ignore")
    corpus = next((Path(word) for word in sys.argv[1:] if not word.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for number, (target, content) in enumerate(seeds()):
            (corpus / f"seed-{number:03d}").write_bytes(bytes([target]) + content)
    atheris.Setup(sys.argv, read_any)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
