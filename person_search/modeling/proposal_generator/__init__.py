"""Detectors: what finds the persons of a picture."""
