"""What a `.wandb` file says: its frames, its records, and the run and the rows that these make."""
