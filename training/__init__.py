"""Rankings and Corrections into a Snapshot, a TrainingRun and a ModelVersion."""
