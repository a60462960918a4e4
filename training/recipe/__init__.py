"""What a training is asked to do, whether it can work, and what it will take."""
