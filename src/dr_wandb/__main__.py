"""Run the command with `python -m dr_wandb`."""

from dr_wandb.cli import main

if __name__ == "__main__":
    main()
