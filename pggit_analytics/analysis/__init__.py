"""Pure functions, frames in and frames out: no clock, environment, network, disk or logging."""
