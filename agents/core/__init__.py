"""What an agent decides: pure. Facts in, the next step out."""
