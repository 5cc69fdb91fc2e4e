"""What a person looks at: tables, plots, the leaderboard, and the HTML report."""
