"""What the Python tests share: servers as child processes, the books after a run, the search for leaked secrets."""
