"""One suite for each port, run on its fake and on what it stands for."""
