"""What goes out: assignments to agents, DNS, alerts."""
