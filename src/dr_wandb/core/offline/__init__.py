"""Read `.wandb` files: their frames, their records, and the run and rows in them."""
