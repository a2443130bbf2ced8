"""How good the detectors are: labelled series and the measures that judge findings against labels."""
