"""Run the command: as `wandb-export`, or with `python -m dr_wandb`."""

import gc
from typing import NoReturn


def main() -> NoReturn:
    """Run the command as a program. Its imports create no garbage, so none is looked for."""
    gc.disable()
    from dr_wandb.cli import main as run_program

    gc.enable()
    run_program()


if __name__ == "__main__":
    main()
