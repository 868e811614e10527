"""A clause of each rule taken away: each must turn a test on real PostgreSQL red."""
