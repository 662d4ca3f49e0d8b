"""The run record shown to people: as it goes, and as a summary."""
