"""What every part of the jobs uses: config, errors, console output, sampling, paths, access to S3."""
