"""Label statistics, figures, and the HTML report."""
