"""Messages between the listener's processes, and the table they share."""
