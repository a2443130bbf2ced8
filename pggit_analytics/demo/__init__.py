"""Data to try the project out with: a labelled week of timings and a short real workload."""
