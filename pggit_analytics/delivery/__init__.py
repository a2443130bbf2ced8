"""What is said when something got slow, and how it reaches people: rendering is pure, sending is apart."""
