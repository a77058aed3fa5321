"""What is done with networks: each job spreads its work over a pool, keeps parts as it goes, and can be continued."""
