"""What this machine is: versions, devices, precision, threads."""
