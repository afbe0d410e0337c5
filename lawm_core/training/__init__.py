"""Training: recipes, batches, losses, optimizers, the trainer, and parallelism over ranks."""
