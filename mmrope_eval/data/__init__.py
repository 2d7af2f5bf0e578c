"""What lies on a machine's disks: where a data set's tables and media are, and which of its files hold what."""
