"""Training: a folder of pictures to a checkpoint, and what is fitted to the trained model."""
