"""Work on large collections of videos: extraction of latent actions with Ray, maps of them, and writing of shards."""
