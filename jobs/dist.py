"""Write the archive of our packages for a cluster: `python -m jobs.dist data/dist/sandtimer.zip`, or `make dist`."""

from jobs.engines.spark.archive import main

if __name__ == "__main__":
    main()
