"""What two artifacts differ in, their data included."""
