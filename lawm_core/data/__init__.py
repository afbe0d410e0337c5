"""Training data: clip folders, frame store, shards, LeRobot episodes, synthetic pairs, sample clips."""
