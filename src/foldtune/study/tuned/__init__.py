"""What becomes of a tuning that was made: judged, asked, merged, exported."""
