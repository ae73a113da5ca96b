"""Work on classifiers: training, evaluation, the leaderboard."""
