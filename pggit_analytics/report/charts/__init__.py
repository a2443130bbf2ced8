"""Charts: pure functions from result frames to Altair charts."""
