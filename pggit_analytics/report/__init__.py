"""What people read: pure functions from findings to text, tables and pages."""
