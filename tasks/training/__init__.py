"""From labelled frames to an adapter: recipes, samples, the run, its validation and its result."""
