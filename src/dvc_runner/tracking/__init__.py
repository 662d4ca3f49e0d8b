"""What is asked of the tracking server and its registry: MLflow's REST calls that every server since 2.7 knows."""
