"""Print the Java that Spark would use: `export JAVA_HOME="$(python -m jobs.java)"`."""

import sys

from jobs.engines.spark.java import main

if __name__ == "__main__":
    sys.exit(main())
