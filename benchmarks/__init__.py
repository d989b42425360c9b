"""Speed, told as ratios to a baseline in the same run. `make bench` prints the table."""
