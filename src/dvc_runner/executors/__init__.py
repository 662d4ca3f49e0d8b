"""The ways of running a stage: one module each, one Protocol, one table."""
