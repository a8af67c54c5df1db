"""What scoring costs: Sandtimer's routes beside a plain copy and beside other ways to score on Spark."""
