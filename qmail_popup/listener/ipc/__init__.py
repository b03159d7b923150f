"""What the processes of the listener send each other, and the table that they share."""
