"""What the flows do, one library call each; retries and time-outs are declared here."""
