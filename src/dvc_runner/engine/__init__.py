"""Talks to the container engine; knows no stage."""
