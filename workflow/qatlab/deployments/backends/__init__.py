"""What building and running deployments takes: imported by the jobs that need it, never by a plan."""
