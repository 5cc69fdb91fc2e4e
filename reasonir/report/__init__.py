"""Reports for people: tables, plots, the leaderboard, and the HTML report."""
